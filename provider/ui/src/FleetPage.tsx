// The page of the navigation bar: one tab per question that an operator has.
import { Box, Heading, HStack, Tabs, Text } from "@chakra-ui/react";
import { AddWorkerTab } from "./AddWorkerTab";
import { AuditTab } from "./AuditTab";
import { JobsTab } from "./JobsTab";
import { Notice } from "./parts";
import { QueuesTab } from "./QueuesTab";
import { useSession, words } from "./queries";
import { Root } from "./Root";
import type { Session } from "./schema";
import { useSearch } from "./search";
import { WorkersTab } from "./workers/WorkersTab";

const NOBODY: Session = {
  user: "",
  may_act: false,
  may_mint: false,
  may_audit: false,
  teams: null,
  sites_url: null,
  version: "",
};

export function FleetPage() {
  return (
    <Root>
      <Pages />
    </Root>
  );
}

function Pages() {
  const [get, set] = useSearch();
  const session = useSession();
  const who = session.data ?? NOBODY;
  const tabs = [
    { value: "workers", label: "Workers", page: () => <WorkersTab who={who} /> },
    { value: "queues", label: "Queues", page: () => <QueuesTab /> },
    { value: "jobs", label: "Jobs", page: () => <JobsTab /> },
    ...(who.may_mint ? [{ value: "add", label: "Add a worker", page: () => <AddWorkerTab who={who} /> }] : []),
    ...(who.may_audit ? [{ value: "audit", label: "Audit", page: () => <AuditTab /> }] : []),
  ];
  const wanted = get("tab") || "workers";
  const open = tabs.find((tab) => tab.value === wanted) ?? tabs[0];
  if (!session.data && session.error) {
    return (
      <Box p={4}>
        <Notice status="error">{words(session.error)}</Notice>
      </Box>
    );
  }
  return (
    <Box p={{ base: 2, md: 4 }}>
      <HStack justify="space-between" mb={2}>
        <Heading as="h1" size="lg">
          Edge fleet
        </Heading>
        <Text color="fg.muted" fontSize="xs">
          {who.version ? `Airflow Edge ${who.version}` : ""}
        </Text>
      </HStack>
      {/* A new tab begins without the filters of the one before. */}
      <Tabs.Root
        lazyMount
        onValueChange={({ value }) =>
          set(
            {
              tab: value === "workers" ? null : value,
              ...Object.fromEntries(
                [
                  "state",
                  "queue",
                  "team",
                  "text",
                  "worker",
                  "sort",
                  "page",
                  "dag",
                  "job",
                  "actor",
                  "action",
                  "object",
                  "since",
                ].map((name) => [name, null]),
              ),
            },
            false,
          )
        }
        unmountOnExit
        value={open?.value ?? "workers"}
      >
        <Tabs.List flexWrap="wrap">
          {tabs.map((tab) => (
            <Tabs.Trigger key={tab.value} value={tab.value}>
              {tab.label}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        {tabs.map((tab) => (
          <Tabs.Content key={tab.value} value={tab.value}>
            {tab.page()}
          </Tabs.Content>
        ))}
      </Tabs.Root>
    </Box>
  );
}
