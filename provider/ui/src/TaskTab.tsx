// The tab of a task instance: which worker has it, what happened when, and why it waits.
import { Badge, Box, Heading, HStack, Stack, Table, Text } from "@chakra-ui/react";
import { JOB_STATES } from "./JobsTab";
import { Empty, Fact, Facts, Loaded, StateBadge, WorkerLink } from "./parts";
import { useNow, useTask } from "./queries";
import { Root } from "./Root";
import type { JobRow, TaskStory } from "./schema";
import { WhyText } from "./Why";
import { age, ago, progress, time } from "./words";

export interface Place {
  dagId?: string;
  runId?: string;
  taskId?: string;
  mapIndex?: string;
}

export function TaskTab(place: Place) {
  return (
    <Root>
      <Box p={4}>
        <Task {...place} />
      </Box>
    </Root>
  );
}

function Task({ dagId, runId, taskId, mapIndex }: Place) {
  const task = useTask({ dag_id: dagId, run_id: runId, task_id: taskId, map_index: mapIndex ?? "-1" });
  return <Loaded query={task}>{(story) => <Story story={story} />}</Loaded>;
}

function Story({ story }: { story: TaskStory }) {
  const now = useNow();
  const latest = story.tries[0];
  if (!latest) {
    return (
      <Empty title="No edge worker has this task">
        It was not queued for an edge worker, or it finished so long ago that the edge API has forgotten it.
      </Empty>
    );
  }
  const { worker } = story;
  return (
    <Stack gap={5}>
      <HStack>
        <Badge colorPalette={JOB_STATES[latest.state].palette} size="lg" variant="surface">
          {JOB_STATES[latest.state].label}
        </Badge>
        <Text color="fg.muted">try {latest.try_number}</Text>
      </HStack>
      {story.why ? (
        <Stack as="section" gap={2}>
          <Heading as="h3" size="sm">
            Why is it not starting?
          </Heading>
          <WhyText answer={story.why} />
        </Stack>
      ) : null}
      <Facts>
        <Fact name="Queue">{latest.queue}</Fact>
        <Fact name="Worker">
          {latest.worker ? (
            <HStack flexWrap="wrap">
              <WorkerLink name={latest.worker} />
              {worker ? <StateBadge state={worker.state} /> : null}
              {worker ? <Text fontSize="sm">{progress(worker)}</Text> : null}
              {worker ? (
                <Text color="fg.muted" fontSize="sm">
                  last contact {ago(worker.last_heartbeat, now)}
                </Text>
              ) : null}
            </HStack>
          ) : (
            "–"
          )}
        </Fact>
        <Fact name="Slots">{latest.slots}</Fact>
        {latest.exit_code === null ? null : <Fact name="Exit code">{latest.exit_code}</Fact>}
        {latest.error ? <Fact name="Error">{latest.error}</Fact> : null}
      </Facts>
      <Table.ScrollArea borderWidth="1px" rounded="md">
        <Table.Root aria-label="Timeline" size="sm">
          <Table.Header>
            <Table.Row>
              {["Try", "Queued", "Claimed", "Started", "Finished", "Waited", "Worker"].map((title) => (
                <Table.ColumnHeader key={title}>{title}</Table.ColumnHeader>
              ))}
            </Table.Row>
          </Table.Header>
          <Table.Body>
            {story.tries.map((job) => (
              <Table.Row fontSize="xs" key={job.id}>
                <Table.Cell>{job.try_number}</Table.Cell>
                <Table.Cell>{time(job.queued_at)}</Table.Cell>
                <Table.Cell>{time(job.leased_at)}</Table.Cell>
                <Table.Cell>{time(job.started_at)}</Table.Cell>
                <Table.Cell>{time(job.finished_at)}</Table.Cell>
                <Table.Cell>{age(waited(job, now))}</Table.Cell>
                <Table.Cell>{job.worker ?? "–"}</Table.Cell>
              </Table.Row>
            ))}
          </Table.Body>
        </Table.Root>
      </Table.ScrollArea>
    </Stack>
  );
}

function waited(job: JobRow, now: number): number {
  const end = job.started_at ?? job.finished_at;
  return ((end === null ? now : Date.parse(end)) - Date.parse(job.queued_at)) / 1000;
}
