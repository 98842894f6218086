// Data of the pages. The host makes new components at will, so the cache lives outside of them.
import { QueryClient, queryOptions, usePrefetchQuery, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { BackendError, inPath, type Params, read } from "./backend";
import type {
  Answer,
  AuditPage,
  FleetNews,
  FleetSummary,
  JobRows,
  QueueList,
  Session,
  TaskStory,
  TokenPage,
  WorkerDetails,
  WorkerEventPage,
  WorkerMetrics,
  WorkerView,
} from "./schema";

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      // Those that fail are asked again by their interval; a refusal stays a refusal.
      retry: false,
      refetchOnWindowFocus: true,
    },
  },
});

const LIVE_MS = 2000;
const SLOW_MS = 5000;

export interface Fleet {
  since: string;
  workers: Map<string, WorkerView>;
  asOf: number;
  problem: string | null;
}

export function merged(known: Fleet | undefined, news: FleetNews): Fleet {
  const workers = news.reset || !known ? new Map<string, WorkerView>() : new Map(known.workers);
  for (const name of news.removed) workers.delete(name);
  for (const worker of news.workers) {
    // An api-server that is a moment behind does not undo what another one has shown.
    const before = workers.get(worker.name);
    if (!before || before.revision <= worker.revision) workers.set(worker.name, worker);
  }
  return { since: news.since, workers, asOf: Date.parse(news.as_of), problem: news.problem?.detail ?? null };
}

const FLEET = queryOptions({
  queryKey: ["fleet"],
  queryFn: async () => {
    const known = client.getQueryData<Fleet>(["fleet"]);
    return merged(known, await read<FleetNews>("fleet", { since: known?.since }));
  },
  refetchInterval: LIVE_MS,
  structuralSharing: false,
});

export function useFleet() {
  // React holds a page back for 300 ms after the host's placeholder, and queries begin when it is shown.
  usePrefetchQuery(FLEET);
  return useQuery(FLEET);
}

export const useSession = () =>
  useQuery({
    queryKey: ["session"],
    queryFn: () => read<Session>("session"),
    staleTime: 60_000,
    refetchInterval: 60_000,
  });

export const useWorker = (name: string) =>
  useQuery({
    queryKey: ["worker", name],
    queryFn: () => read<WorkerDetails>(`workers/${inPath(name)}`),
    refetchInterval: SLOW_MS,
  });

export const useSummary = () =>
  useQuery({ queryKey: ["summary"], queryFn: () => read<FleetSummary>("summary"), refetchInterval: SLOW_MS });

export const useEvents = (name: string) =>
  useQuery({
    queryKey: ["events", name],
    queryFn: () => read<WorkerEventPage>(`workers/${inPath(name)}/events`),
    refetchInterval: SLOW_MS,
  });

export const useMetrics = (name: string) =>
  useQuery({
    queryKey: ["metrics", name],
    queryFn: () => read<WorkerMetrics>(`workers/${inPath(name)}/metrics`),
    refetchInterval: 30_000,
  });

export const useQueues = () =>
  useQuery({ queryKey: ["queues"], queryFn: () => read<QueueList>("queues"), refetchInterval: SLOW_MS });

export const useJobs = (params: Params) =>
  useQuery({ queryKey: ["jobs", params], queryFn: () => read<JobRows>("jobs", params), refetchInterval: SLOW_MS });

export const useAnswer = (job: string) =>
  useQuery({
    queryKey: ["answer", job],
    queryFn: () => read<Answer>(`jobs/${inPath(job)}/explain`),
    refetchInterval: SLOW_MS,
  });

export const useTask = (params: Params) =>
  useQuery({ queryKey: ["task", params], queryFn: () => read<TaskStory>("task", params), refetchInterval: LIVE_MS });

export const useTokens = (enabled: boolean) =>
  useQuery({ queryKey: ["tokens"], queryFn: () => read<TokenPage>("tokens"), enabled, refetchInterval: SLOW_MS });

export const useAudit = (params: Params, enabled = true) =>
  useQuery({
    queryKey: ["audit", params],
    queryFn: () => read<AuditPage>("audit", params),
    enabled,
    refetchInterval: SLOW_MS,
  });

export function refresh(): void {
  void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "session" });
}

export function words(error: unknown): string {
  return error instanceof BackendError ? error.message : "The page failed in an unexpected way. Reload it.";
}

// The time now, for ages that grow.
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}
