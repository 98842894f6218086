// What things are called on the page, in one place.
import type { WorkerState, WorkerView } from "./schema";

export const GONE: ReadonlySet<WorkerState> = new Set(["offline", "unknown", "offline maintenance"]);

export const STATES: Record<WorkerState, { label: string; palette: string; meaning: string }> = {
  starting: { label: "Starting", palette: "blue", meaning: "It is connected and loads its runner." },
  idle: { label: "Idle", palette: "green", meaning: "It is online and has no task." },
  running: { label: "Running", palette: "green", meaning: "It is online and runs tasks." },
  "shutdown request": { label: "Shutdown requested", palette: "purple", meaning: "It has not yet seen the request." },
  terminating: { label: "Stopping", palette: "purple", meaning: "It finishes its tasks and then stops." },
  offline: { label: "Offline", palette: "gray", meaning: "It disconnected on purpose." },
  unknown: { label: "Unknown", palette: "red", meaning: "It has been silent for three heartbeats." },
  "maintenance request": {
    label: "Maintenance requested",
    palette: "orange",
    meaning: "It has not yet seen the request, and it is given no tasks.",
  },
  "maintenance pending": {
    label: "Draining",
    palette: "orange",
    meaning: "In maintenance: its tasks go on, it is given no more.",
  },
  "maintenance mode": { label: "Maintenance", palette: "orange", meaning: "It has no task and is given none." },
  "maintenance exit": { label: "Leaving maintenance", palette: "blue", meaning: "It takes tasks in a moment." },
  "offline maintenance": {
    label: "Offline, maintenance",
    palette: "gray",
    meaning: "In maintenance and disconnected.",
  },
};

// A credential that expires so soon deserves a warning.
export const SOON_MS = 7 * 86_400_000;

export function count(number: number, thing: string, things = `${thing}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? thing : things}`;
}

// Progress of what takes as long as the tasks of a worker.
export function progress(worker: WorkerView): string | null {
  if (worker.jobs_kept_until) return `${count(worker.jobs_active, "task")} kept until ${time(worker.jobs_kept_until)}`;
  const drains = worker.shutdown || worker.state === "maintenance pending" || worker.state === "terminating";
  if (!drains || GONE.has(worker.state)) return null;
  return worker.jobs_active ? `draining: ${count(worker.jobs_active, "task")} left` : "drained";
}

export function age(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} days`;
}

export function ago(moment: string | number, now: number): string {
  const seconds = (now - new Date(moment).getTime()) / 1000;
  return seconds < 1 ? "now" : `${age(seconds)} ago`;
}

export function time(moment: string | null): string {
  return moment === null ? "–" : new Date(moment).toLocaleString("en-GB");
}

export function bytes(size: number): string {
  const steps = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = size;
  let step = 0;
  while (value >= 1000 && step < steps.length - 1) {
    value /= 1000;
    step += 1;
  }
  return `${value < 10 && step > 0 ? value.toFixed(1) : Math.round(value)} ${steps[step]}`;
}

// Where a worker is, as its own setting says.
export function site(worker: WorkerView): string | null {
  return typeof worker.sysinfo.site === "string" ? worker.sysinfo.site : null;
}

export function reason(worker: WorkerView): string | null {
  if (worker.maintenance?.comment) return worker.maintenance.comment;
  const reasons = worker.cordon.reasons.filter((each) => !["offline", "unknown", "starting"].includes(each.code));
  return reasons.map((each) => each.message).join(" ") || null;
}

export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

// `user:anna via admin:fleet page:ID` → `anna`; `admin:anna:ID` → `anna`
export function actorName(actor: string): string {
  const user = /^user:(.*) via [^:]+:.*:[0-9a-f-]{36}$/.exec(actor);
  const credential = /^(?:admin|read):(.*):[0-9a-f-]{36}$/.exec(actor);
  if (actor.startsWith("token:")) return "A join token";
  return user?.[1] || credential?.[1] || actor;
}

export const EVENTS: Record<string, string> = {
  connected: "Connected",
  disconnected: "Disconnected",
  lost: "Unknown: silent for too long",
  jobs_given_up: "Its tasks were given up: out of contact for longer than they are kept",
  recovered: "Heard again",
  maintenance_reached: "In maintenance: its tasks have ended",
  maintenance_left: "Takes tasks again",
  terminating: "Finishes its tasks and then stops",
  cordoned: "Given no tasks because of its version",
  uncordoned: "Its version is allowed again",
};

export const VERDICTS: Record<string, string> = {
  finished: "Finished",
  running: "Running",
  leased: "Given to a worker",
  dispatching: "About to start",
  no_worker: "No worker serves the queue",
  team: "No worker of its team",
  gone: "All its workers are gone",
  cordoned: "All its workers are in maintenance",
  version: "Wrong versions",
  starting: "Workers are starting",
  slots_never: "Needs more slots than any worker has",
  slots_busy: "Waits for free slots",
};

export const ACTIONS: Record<string, string> = {
  "worker.maintenance": "put it into maintenance",
  "worker.exit_maintenance": "ended its maintenance",
  "worker.shutdown": "asked it to stop",
  "worker.cancel_shutdown": "cancelled its shutdown",
  "worker.remove": "removed it",
  "worker.adjust": "changed its slots or queues",
  "worker.enroll": "enrolled it",
  "credential.rotate": "renewed its credential",
  "credential.revoke": "revoked a credential",
  "credential.create": "created a credential",
  "credential.rescope": "changed what a credential grants",
  "token.create": "created a join token",
  "token.revoke": "revoked a join token",
};
