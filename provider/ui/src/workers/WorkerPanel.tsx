// The side panel of one worker.
import { Badge, CloseButton, Drawer, Heading, HStack, Link, Portal, Stack, Text } from "@chakra-ui/react";
import type { ReactNode } from "react";
import { Link as RouterLink } from "react-router-dom";
import { Fact, Facts, Loaded, Notice, StateBadge, TaskLink } from "../parts";
import { useEvents, useJobs, useMetrics, useNow, useWorker } from "../queries";
import type { CredentialView, Session, WorkerEvent, WorkerView } from "../schema";
import { ACTIONS, actorName, ago, bytes, count, EVENTS, number, progress, SOON_MS, site, time } from "../words";
import { ActionButtons, useActions } from "./ActionButtons";
import { Sparkline } from "./Sparkline";

export const buttonOf = (name: string) => `edge-worker-${name}`;

export function WorkerPanel({
  name,
  live,
  who,
  onClose,
}: {
  name: string;
  live?: WorkerView;
  who: Session;
  onClose: () => void;
}) {
  const details = useWorker(name);
  const worker = live ?? details.data?.worker;
  return (
    <Drawer.Root
      // The host may have drawn the list again since the panel was opened, so its button is looked up.
      finalFocusEl={() => document.getElementById(buttonOf(name))}
      onOpenChange={({ open }) => (open ? undefined : onClose())}
      open
      placement="end"
      size="md"
    >
      <Portal>
        <Drawer.Backdrop />
        <Drawer.Positioner>
          <Drawer.Content>
            <Drawer.Header>
              <Drawer.Title overflowWrap="anywhere">{name}</Drawer.Title>
              <Drawer.CloseTrigger asChild>
                <CloseButton aria-label="Close" size="sm" />
              </Drawer.CloseTrigger>
            </Drawer.Header>
            <Drawer.Body>
              <Stack gap={5}>
                {worker ? <Now who={who} worker={worker} /> : null}
                <Loaded query={details}>
                  {(data) => (
                    <Section title="Credentials">
                      <Credentials credentials={data.credentials} />
                    </Section>
                  )}
                </Loaded>
                <Section title="Jobs">
                  <Jobs worker={name} />
                </Section>
                <Section title="Last hour">
                  <Metrics worker={name} />
                </Section>
                <Section title="History">
                  <History worker={name} />
                </Section>
              </Stack>
            </Drawer.Body>
          </Drawer.Content>
        </Drawer.Positioner>
      </Portal>
    </Drawer.Root>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Stack as="section" gap={2}>
      <Heading as="h3" size="sm">
        {title}
      </Heading>
      {children}
    </Stack>
  );
}

function Now({ worker, who }: { worker: WorkerView; who: Session }) {
  const now = useNow();
  const drains = progress(worker);
  const { ask, dialog } = useActions();
  const { sysinfo, versions } = worker;
  return (
    <Stack gap={3}>
      <HStack flexWrap="wrap">
        <StateBadge state={worker.state} />
        {drains ? <Text fontSize="sm">{drains}</Text> : null}
      </HStack>
      {worker.cordon.reasons.length ? (
        <Notice status="info" title="It is given no tasks">
          {worker.cordon.reasons.map((each) => each.message).join(" ")}
        </Notice>
      ) : null}
      {who.may_act ? <ActionButtons ask={ask} label={`Actions on ${worker.name}`} workers={[worker]} /> : null}
      <Facts>
        {worker.maintenance ? (
          <Fact name="Maintenance">
            {worker.maintenance.comment ?? "–"}
            <Text color="fg.muted" fontSize="xs">
              {worker.maintenance.by ? `by ${worker.maintenance.by}, ` : ""}
              {time(worker.maintenance.at)}
            </Text>
          </Fact>
        ) : null}
        <Fact name="Slots">
          {worker.slots_used} of {worker.concurrency} used
          {worker.concurrency_override === null ? "" : " (set by an administrator)"}
        </Fact>
        <Fact name="Queues">
          <HStack flexWrap="wrap" gap={1}>
            {worker.queues.map((queue) => (
              <Badge key={queue} maxW="100%" truncate variant="outline">
                {queue}
              </Badge>
            ))}
          </HStack>
        </Fact>
        <Fact name="Site">{site(worker) ?? "–"}</Fact>
        <Fact name="Team">{worker.team ?? "–"}</Fact>
        <Fact name="Last contact">{ago(worker.last_heartbeat, now)}</Fact>
        <Fact name="First online">{time(worker.first_online)}</Fact>
        <Fact name="Versions">
          worker {versions.worker ?? "–"}, Airflow {versions.airflow ?? "–"}, Python {versions.python ?? "–"}
        </Fact>
        <Fact name="System">{versions.platform ?? "–"}</Fact>
        {number(sysinfo.disk_free_bytes) === null ? null : (
          <Fact name="Disk free">{bytes(Number(sysinfo.disk_free_bytes))}</Fact>
        )}
      </Facts>
      {dialog}
    </Stack>
  );
}

function Credentials({ credentials }: { credentials: CredentialView[] }) {
  const now = useNow(60_000);
  const valid = credentials.filter((each) => each.revoked_at === null && Date.parse(each.expires_at) > now);
  if (!valid.length)
    return <Notice status="warning">No valid credential: it can only come back with a new join token.</Notice>;
  return (
    <Stack gap={1}>
      {valid.map((each) => {
        const soon = each.rotated_at === null && Date.parse(each.expires_at) - now < SOON_MS;
        return (
          <HStack fontSize="sm" justify="space-between" key={each.id}>
            <Text>
              expires {time(each.expires_at)}
              {each.rotated_at ? " (replaced by a newer one)" : ""}
            </Text>
            {soon ? <Badge colorPalette="orange">soon</Badge> : null}
          </HStack>
        );
      })}
    </Stack>
  );
}

function Jobs({ worker }: { worker: string }) {
  const jobs = useJobs({ worker });
  return (
    <Loaded query={jobs}>
      {(data) =>
        data.items.length ? (
          <Stack gap={1}>
            {data.items.slice(0, 10).map((job) => (
              <HStack align="start" fontSize="sm" justify="space-between" key={job.id}>
                <TaskLink job={job} />
                <Text color="fg.muted" whiteSpace="nowrap">
                  {job.state}
                </Text>
              </HStack>
            ))}
            <Link asChild colorPalette="blue" fontSize="sm" variant="underline">
              <RouterLink to={`/plugin/edge?tab=jobs&worker=${encodeURIComponent(worker)}`}>All its jobs</RouterLink>
            </Link>
          </Stack>
        ) : (
          <Text color="fg.muted" fontSize="sm">
            None lately.
          </Text>
        )
      }
    </Loaded>
  );
}

function History({ worker }: { worker: string }) {
  const events = useEvents(worker);
  return (
    <Loaded query={events}>
      {(data) =>
        data.items.length ? (
          <Stack as="ol" gap={1} listStyleType="none">
            {data.items.slice(0, 30).map((event) => (
              <Text as="li" fontSize="sm" key={`${event.at} ${event.kind}`} overflowWrap="anywhere">
                <Text as="span" color="fg.muted">
                  {time(event.at)}{" "}
                </Text>
                {happened(event)}
              </Text>
            ))}
          </Stack>
        ) : (
          <Text color="fg.muted" fontSize="sm">
            Nothing lately.
          </Text>
        )
      }
    </Loaded>
  );
}

function happened({ source, kind, actor, detail }: WorkerEvent): string {
  if (source === "audit") {
    const comment = typeof detail.comment === "string" ? `: ${detail.comment}` : "";
    return `${actorName(actor ?? "")} ${ACTIONS[kind] ?? kind}${comment}`;
  }
  const why = typeof detail.reason === "string" ? `: ${detail.reason}` : "";
  const lost = number(detail.jobs_lost) ? `, with ${count(Number(detail.jobs_lost), "task")}` : "";
  return `${EVENTS[kind] ?? kind}${lost}${why}`;
}

function Metrics({ worker }: { worker: string }) {
  const metrics = useMetrics(worker);
  return (
    <Loaded query={metrics}>
      {({ items }) =>
        items.length > 1 ? (
          <Stack gap={2}>
            <Sparkline label="Slots used" samples={items} value={(sample) => sample.slots_used} />
            <Sparkline label="CPU" samples={items} top={100} unit=" %" value={(sample) => sample.cpu_percent} />
            <Sparkline label="Memory" samples={items} top={100} unit=" %" value={(sample) => sample.memory_percent} />
            <Sparkline label="Load" samples={items} value={(sample) => sample.load1} />
          </Stack>
        ) : (
          <Text color="fg.muted" fontSize="sm">
            There is a sample for each minute of contact; come back in a moment.
          </Text>
        )
      }
    </Loaded>
  );
}
