// Jobs with filters; each can say why it is not starting.
import { Badge, Button, CloseButton, Dialog, HStack, Portal, Stack, Table, Text } from "@chakra-ui/react";
import { useCallback } from "react";
import { Empty, Loaded, Pages, SelectFilter, TaskLink, TextFilter, WorkerLink } from "./parts";
import { useJobs, useNow } from "./queries";
import type { JobRow, JobState } from "./schema";
import { usePages, useSearch } from "./search";
import { Why } from "./Why";
import { ago, time } from "./words";

export const JOB_STATES: Record<JobState, { label: string; palette: string }> = {
  queued: { label: "Waiting", palette: "orange" },
  leased: { label: "Given to a worker", palette: "blue" },
  running: { label: "Running", palette: "green" },
  succeeded: { label: "Succeeded", palette: "gray" },
  failed: { label: "Failed", palette: "red" },
  removed: { label: "Removed", palette: "gray" },
  lost: { label: "Lost", palette: "red" },
};

export function JobsTab() {
  const [get, set] = useSearch();
  const { cursors, setCursors, narrow } = usePages(set);
  const filter = { state: get("state"), queue: get("queue"), worker: get("worker"), dag_id: get("dag") };
  const jobs = useJobs({ ...filter, cursor: cursors.at(-1) });
  const byQueue = useCallback((queue: string) => narrow({ queue }), [narrow]);
  const byWorker = useCallback((worker: string) => narrow({ worker }), [narrow]);
  const byDag = useCallback((dag: string) => narrow({ dag }), [narrow]);
  const open = get("job");
  return (
    <Stack gap={3}>
      <HStack alignItems="end" flexWrap="wrap" gap={2} role="search">
        <SelectFilter
          all="All states"
          choices={Object.entries(JOB_STATES).map(([value, { label }]) => ({ value, label }))}
          label="State"
          onChange={(state) => narrow({ state })}
          value={filter.state}
        />
        <TextFilter label="Queue" onChange={byQueue} value={filter.queue} />
        <TextFilter label="DAG" onChange={byDag} value={filter.dag_id} />
        <TextFilter label="Worker" onChange={byWorker} value={filter.worker} />
      </HStack>
      <Loaded query={jobs}>
        {(data) =>
          data.items.length ? (
            <Stack gap={3}>
              <Table.ScrollArea borderWidth="1px" rounded="md">
                <Table.Root aria-label="Jobs" size="sm">
                  <Table.Header>
                    <Table.Row>
                      <Table.ColumnHeader>Task</Table.ColumnHeader>
                      <Table.ColumnHeader>State</Table.ColumnHeader>
                      <Table.ColumnHeader hideBelow="md">Queue</Table.ColumnHeader>
                      <Table.ColumnHeader hideBelow="md">Worker</Table.ColumnHeader>
                      <Table.ColumnHeader hideBelow="md">Queued</Table.ColumnHeader>
                    </Table.Row>
                  </Table.Header>
                  <Table.Body>
                    {data.items.map((job) => (
                      <Row job={job} key={job.id} onWhy={() => set({ job: job.id }, false)} />
                    ))}
                  </Table.Body>
                </Table.Root>
              </Table.ScrollArea>
              {data.next || cursors.length ? <Pages cursors={cursors} next={data.next} onTurn={setCursors} /> : null}
            </Stack>
          ) : (
            <Empty title="No job">
              {Object.values(filter).some(Boolean)
                ? "No job fits the filters; finished ones are kept only for a while."
                : "A job appears when Airflow's scheduler queues a task for an edge worker."}
            </Empty>
          )
        }
      </Loaded>
      {open ? <WhyDialog job={open} onClose={() => set({ job: null })} /> : null}
    </Stack>
  );
}

function Row({ job, onWhy }: { job: JobRow; onWhy: () => void }) {
  const { label, palette } = JOB_STATES[job.state];
  const waits = job.state === "queued" || job.state === "leased";
  return (
    <Table.Row>
      <Table.Cell>
        <TaskLink job={job} />
        {job.run_id ? (
          <Text color="fg.muted" fontSize="xs" overflowWrap="anywhere">
            {job.run_id}, try {job.try_number}
          </Text>
        ) : null}
        {job.error ? (
          <Text color="fg.error" fontSize="xs" lineClamp={2} overflowWrap="anywhere" title={job.error}>
            {job.error}
          </Text>
        ) : null}
      </Table.Cell>
      <Table.Cell>
        <HStack flexWrap="wrap">
          <Badge colorPalette={palette} variant="surface">
            {label}
          </Badge>
          {waits ? (
            <Button onClick={onWhy} size="2xs" variant="outline">
              Why?
            </Button>
          ) : null}
        </HStack>
      </Table.Cell>
      <Table.Cell hideBelow="md" overflowWrap="anywhere">
        {job.queue}
      </Table.Cell>
      <Table.Cell hideBelow="md">{job.worker ? <WorkerLink name={job.worker} /> : "–"}</Table.Cell>
      <Table.Cell fontSize="xs" hideBelow="md" title={time(job.queued_at)} whiteSpace="nowrap">
        <Since moment={job.queued_at} />
      </Table.Cell>
    </Table.Row>
  );
}

function Since({ moment }: { moment: string }) {
  return ago(moment, useNow());
}

function WhyDialog({ job, onClose }: { job: string; onClose: () => void }) {
  return (
    <Dialog.Root onOpenChange={({ open }) => (open ? undefined : onClose())} open size="lg">
      <Portal>
        <Dialog.Backdrop />
        <Dialog.Positioner>
          <Dialog.Content>
            <Dialog.Header>
              <Dialog.Title>Why is it not starting?</Dialog.Title>
            </Dialog.Header>
            <Dialog.Body>
              <Why job={job} />
            </Dialog.Body>
            <Dialog.CloseTrigger asChild>
              <CloseButton aria-label="Close" size="sm" />
            </Dialog.CloseTrigger>
          </Dialog.Content>
        </Dialog.Positioner>
      </Portal>
    </Dialog.Root>
  );
}
