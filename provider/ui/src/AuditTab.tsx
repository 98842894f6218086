// Who did what.
import { Button, HStack, Stack, Table, Text } from "@chakra-ui/react";
import { useCallback } from "react";
import { address } from "./backend";
import { Empty, Loaded, Pages, TextFilter } from "./parts";
import { useAudit } from "./queries";
import { usePages, useSearch } from "./search";
import { actorName, time } from "./words";

export function AuditTab() {
  const [get, set] = useSearch();
  const { cursors, setCursors, narrow } = usePages(set);
  const filter = { actor: get("actor"), action: get("action"), object: get("object") };
  const audit = useAudit({ ...filter, cursor: cursors.at(-1) });
  const byActor = useCallback((actor: string) => narrow({ actor }), [narrow]);
  const byAction = useCallback((action: string) => narrow({ action }), [narrow]);
  const byObject = useCallback((object: string) => narrow({ object }), [narrow]);
  return (
    <Stack gap={3}>
      <HStack alignItems="end" flexWrap="wrap" gap={2} role="search">
        <TextFilter label="Who, e.g. user:anna" onChange={byActor} value={filter.actor} />
        <TextFilter label="Action, e.g. worker." onChange={byAction} value={filter.action} />
        <TextFilter label="Object, e.g. worker/plant-7" onChange={byObject} value={filter.object} />
        <HStack aria-label="Export" role="group">
          {["csv", "json"].map((format) => (
            <Button asChild key={format} size="sm" variant="outline">
              <a download href={address("audit/export", { ...filter, format })}>
                {format.toUpperCase()}
              </a>
            </Button>
          ))}
        </HStack>
      </HStack>
      <Loaded query={audit}>
        {(data) =>
          data.items.length ? (
            <Stack gap={3}>
              <Table.ScrollArea borderWidth="1px" rounded="md">
                <Table.Root aria-label="Audit trail" size="sm">
                  <Table.Header>
                    <Table.Row>
                      <Table.ColumnHeader>When</Table.ColumnHeader>
                      <Table.ColumnHeader>Who</Table.ColumnHeader>
                      <Table.ColumnHeader>Action</Table.ColumnHeader>
                      <Table.ColumnHeader hideBelow="md">Object</Table.ColumnHeader>
                      <Table.ColumnHeader hideBelow="md">Details</Table.ColumnHeader>
                    </Table.Row>
                  </Table.Header>
                  <Table.Body>
                    {data.items.map((entry) => (
                      <Table.Row key={entry.id}>
                        <Table.Cell fontSize="xs" whiteSpace="nowrap">
                          {time(entry.at)}
                        </Table.Cell>
                        <Table.Cell overflowWrap="anywhere" title={entry.actor}>
                          {actorName(entry.actor)}
                        </Table.Cell>
                        <Table.Cell>{entry.action}</Table.Cell>
                        <Table.Cell hideBelow="md" overflowWrap="anywhere">
                          {entry.object}
                        </Table.Cell>
                        <Table.Cell hideBelow="md" maxW="24rem">
                          <Text fontSize="xs" lineClamp={3} overflowWrap="anywhere">
                            {details(entry.detail)}
                          </Text>
                        </Table.Cell>
                      </Table.Row>
                    ))}
                  </Table.Body>
                </Table.Root>
              </Table.ScrollArea>
              <Pages cursors={cursors} next={data.next} onTurn={setCursors} />
            </Stack>
          ) : (
            <Empty title="No entry">Nothing was done or refused that fits the filters.</Empty>
          )
        }
      </Loaded>
    </Stack>
  );
}

function details(detail: Record<string, unknown>): string {
  return Object.entries(detail)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}
