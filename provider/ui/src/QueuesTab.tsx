// Where work waits, and who serves it.
import { Link, Stack, Table, Text } from "@chakra-ui/react";
import { Link as RouterLink } from "react-router-dom";
import { Empty, Loaded, Meter, Notice } from "./parts";
import { useQueues } from "./queries";
import type { QueueView } from "./schema";
import { age, count } from "./words";

// Why jobs of a queue may wait for long, or null.
export function warning(queue: QueueView): string | null {
  if (!queue.depth || queue.workers_capable) return null;
  if (queue.workers_cordoned)
    return `all of its ${count(queue.workers_cordoned, "worker")} are in maintenance or stopping`;
  return "no connected worker serves it";
}

export function QueuesTab() {
  const queues = useQueues();
  return (
    <Loaded query={queues}>
      {({ items }) =>
        items.length ? (
          <Stack gap={3}>
            {items
              .filter((queue) => warning(queue))
              .map((queue) => (
                <Notice
                  key={queue.queue}
                  status="warning"
                  title={`${count(queue.depth, "job")} of queue ${queue.queue} can't start`}
                >
                  {`In this moment, ${warning(queue)}.`}
                </Notice>
              ))}
            <Table.ScrollArea borderWidth="1px" rounded="md">
              <Table.Root aria-label="Queues" size="sm">
                <Table.Header>
                  <Table.Row>
                    <Table.ColumnHeader>Queue</Table.ColumnHeader>
                    <Table.ColumnHeader textAlign="end">Waiting</Table.ColumnHeader>
                    <Table.ColumnHeader textAlign="end">Longest wait</Table.ColumnHeader>
                    <Table.ColumnHeader>Slots</Table.ColumnHeader>
                    <Table.ColumnHeader hideBelow="md">Workers</Table.ColumnHeader>
                    <Table.ColumnHeader hideBelow="md">Per minute</Table.ColumnHeader>
                  </Table.Row>
                </Table.Header>
                <Table.Body>
                  {items.map((queue) => (
                    <Row key={queue.queue} queue={queue} />
                  ))}
                </Table.Body>
              </Table.Root>
            </Table.ScrollArea>
          </Stack>
        ) : (
          <Empty title="No queue yet">A queue appears when a worker serves it or a job waits in it.</Empty>
        )
      }
    </Loaded>
  );
}

function rate(perMinute: number): string {
  return perMinute.toLocaleString("en", { maximumFractionDigits: 1 });
}

function Row({ queue }: { queue: QueueView }) {
  const name = encodeURIComponent(queue.queue);
  return (
    <Table.Row>
      <Table.Cell overflowWrap="anywhere">{queue.queue === "*" ? "any queue" : queue.queue}</Table.Cell>
      <Table.Cell textAlign="end">
        {queue.depth ? (
          <Link asChild colorPalette="blue" variant="underline">
            <RouterLink to={`/plugin/edge?tab=jobs&state=queued&queue=${name}`}>{queue.depth}</RouterLink>
          </Link>
        ) : (
          0
        )}
      </Table.Cell>
      <Table.Cell textAlign="end" whiteSpace="nowrap">
        {queue.depth ? age(queue.oldest_s) : "–"}
      </Table.Cell>
      <Table.Cell>
        <Meter
          label={`Slots of queue ${queue.queue}`}
          total={queue.slots_used + queue.slots_free}
          value={queue.slots_used}
        />
      </Table.Cell>
      <Table.Cell hideBelow="md">
        <Link asChild colorPalette="blue" variant="underline">
          <RouterLink to={`/plugin/edge?queue=${name}`}>{count(queue.workers_capable, "worker")}</RouterLink>
        </Link>
        {queue.workers_cordoned ? (
          <Text as="span" color="fg.muted">
            {" "}
            and {queue.workers_cordoned} in maintenance
          </Text>
        ) : null}
      </Table.Cell>
      <Table.Cell hideBelow="md" title="Of the last five minutes" whiteSpace="nowrap">
        {rate(queue.arrived_per_min)} in, {rate(queue.finished_per_min)} done
      </Table.Cell>
    </Table.Row>
  );
}
