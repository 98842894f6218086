// Which workers are shown, and in which order.
import type { WorkerView } from "../schema";
import { GONE, number, reason, STATES, site } from "../words";

export interface Filter {
  state: string;
  queue: string;
  team: string;
  text: string;
}

// Beside single states: groups of them.
export const GROUPS: Record<string, { label: string; has: (worker: WorkerView) => boolean }> = {
  online: { label: "online", has: (worker) => !GONE.has(worker.state) },
  cordoned: { label: "in maintenance or stopping", has: (worker) => worker.maintenance !== null || worker.shutdown },
  gone: { label: "not connected", has: (worker) => GONE.has(worker.state) },
};

export function selected(workers: Iterable<WorkerView>, filter: Filter): WorkerView[] {
  const text = filter.text.toLowerCase();
  const group = GROUPS[filter.state];
  const found: WorkerView[] = [];
  for (const worker of workers) {
    if (filter.state && !(group ? group.has(worker) : worker.state === filter.state)) continue;
    if (filter.queue && !worker.queues.includes(filter.queue) && !worker.queues.includes("*")) continue;
    if (filter.team && worker.team !== filter.team) continue;
    if (text && !haystack(worker).includes(text)) continue;
    found.push(worker);
  }
  return found;
}

function haystack(worker: WorkerView): string {
  return [worker.name, site(worker) ?? "", reason(worker) ?? "", worker.team ?? "", worker.versions.worker ?? ""]
    .join("\n")
    .toLowerCase();
}

const ORDER = Object.keys(STATES);

export const SORTS: Record<string, (worker: WorkerView) => string | number> = {
  name: (worker) => worker.name.toLowerCase(),
  state: (worker) => ORDER.indexOf(worker.state),
  slots: (worker) => worker.slots_used / Math.max(1, worker.concurrency),
  load: (worker) => number(worker.sysinfo.cpu_percent) ?? -1,
  version: (worker) => worker.versions.worker ?? "",
  contact: (worker) => -Date.parse(worker.last_heartbeat),
};

// `-name` is the reverse order of `name`.
export function sorted(workers: WorkerView[], sort: string): WorkerView[] {
  const down = sort.startsWith("-");
  const key = SORTS[sort.replace("-", "")] ?? SORTS.name;
  if (!key) return workers;
  const keyed = workers.map((worker) => ({ worker, key: key(worker) }));
  keyed.sort((a, b) => {
    const order = a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
    return (down ? -order : order) || a.worker.name.localeCompare(b.worker.name);
  });
  return keyed.map((each) => each.worker);
}
