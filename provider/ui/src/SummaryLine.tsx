// One line on Airflow's dashboard.
import { HStack, Link, Text } from "@chakra-ui/react";
import { Link as RouterLink } from "react-router-dom";
import { useSummary, words } from "./queries";
import { Root } from "./Root";
import type { FleetSummary, WorkerState } from "./schema";
import { age, count, GONE } from "./words";

export function SummaryLine() {
  return (
    <Root>
      <Line />
    </Root>
  );
}

export function sentence(summary: FleetSummary): string {
  const states = Object.entries(summary.workers) as [WorkerState, number][];
  const sum = (fits: (state: WorkerState) => boolean) =>
    states.reduce((total, [state, workers]) => total + (fits(state) ? workers : 0), 0);
  const unknown = sum((state) => state === "unknown");
  const cordoned = sum((state) => state.includes("maintenance"));
  const waiting = summary.jobs_queued;
  return [
    `${sum((state) => !GONE.has(state))} of ${count(
      sum(() => true),
      "worker",
    )} online`,
    unknown ? `${unknown} unknown` : null,
    cordoned ? `${cordoned} in maintenance` : null,
    `${summary.slots_used} of ${count(summary.slots, "slot")} used`,
    waiting === null
      ? null
      : waiting
        ? `${count(waiting, "job")} waiting, the oldest for ${age(summary.oldest_s ?? 0)}`
        : "no job waits",
  ]
    .filter(Boolean)
    .join(" · ");
}

function Line() {
  const { data, error } = useSummary();
  const unserved = data?.queues_unserved ?? [];
  return (
    <HStack aria-label="Edge fleet" as="section" flexWrap="wrap" gap={2} py={2}>
      <Link asChild colorPalette="blue" fontWeight="semibold" variant="underline">
        <RouterLink to="/plugin/edge">Edge fleet</RouterLink>
      </Link>
      {data ? <Text>{sentence(data)}</Text> : null}
      {unserved.length ? <Text color="fg.warning">Nobody serves {unserved.slice(0, 3).join(", ")}.</Text> : null}
      {error ? <Text color="fg.warning">{words(error)}</Text> : null}
      {data || error ? null : <Text color="fg.muted">Loading …</Text>}
    </HStack>
  );
}
