// What can be done with workers: what it will do, in words, and the calls behind it.
import { BackendError, inPath, write } from "../backend";
import type { BulkResponse, BulkResult, WorkerPatch, WorkerView } from "../schema";
import { count, GONE } from "../words";

export const COMMENT_MAX = 1024;
export const SLOTS_MAX = 10_000;

export interface Input {
  comment: string;
  slots: string;
  add: string;
  remove: string;
}

export interface Action {
  key: string;
  label: string;
  danger?: boolean;
  needs: (keyof Input)[];
  // Whether it makes sense for a worker; it is offered if it does for any of the chosen ones.
  fits: (worker: WorkerView) => boolean;
  effect: (workers: WorkerView[]) => string;
  run: (names: string[], input: Input) => Promise<BulkResult[]>;
}

const who = (workers: WorkerView[]) =>
  workers.length === 1 ? `Worker ${workers[0]?.name}` : `${count(workers.length, "worker")}`;
const tasks = (workers: WorkerView[]) => workers.reduce((sum, worker) => sum + worker.jobs_active, 0);

function running(workers: WorkerView[]): string {
  const active = tasks(workers);
  return active ? `${count(active, "running task")} will go on to the end.` : "No task is running there now.";
}

const bulk = (action: string) => async (names: string[], input: Input) =>
  (
    await write<BulkResponse>("POST", "workers/bulk", {
      action,
      names,
      ...(action === "maintenance" ? { comment: input.comment.trim() } : {}),
    })
  ).results;

// The edge API has no such action on many workers: one call for each, a few at a time.
const each = (call: (name: string, input: Input) => Promise<unknown>) => async (names: string[], input: Input) => {
  const results: BulkResult[] = [];
  const left = [...names];
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      try {
        await call(name, input);
        results.push({ name, ok: true, code: "done", detail: "Done." });
      } catch (error) {
        if (!(error instanceof BackendError)) throw error;
        results.push({ name, ok: false, code: error.code, detail: error.message });
      }
    }
  };
  await Promise.all([work(), work(), work(), work()]);
  return results.sort((a, b) => a.name.localeCompare(b.name));
};

export function queueNames(text: string): string[] {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean);
}

const adjust = (patch: (input: Input) => WorkerPatch) =>
  each((name, input) => write("PATCH", `workers/${inPath(name)}`, patch(input)));

export const ACTION_LIST: Action[] = [
  {
    key: "maintenance",
    label: "Start maintenance",
    needs: ["comment"],
    fits: (worker) => worker.maintenance === null,
    effect: (workers) =>
      `${who(workers)} will be given no more tasks until somebody ends the maintenance. ${running(workers)}`,
    run: bulk("maintenance"),
  },
  {
    key: "comment",
    label: "Edit comment",
    needs: ["comment"],
    fits: (worker) => worker.maintenance !== null,
    effect: (workers) =>
      `The comment of the maintenance of ${who(workers).toLowerCase()} is replaced. Nothing else changes.`,
    run: bulk("maintenance"),
  },
  {
    key: "exit",
    label: "End maintenance",
    needs: [],
    fits: (worker) => worker.maintenance !== null,
    effect: (workers) => `${who(workers)} will be given tasks again.`,
    run: bulk("exit_maintenance"),
  },
  {
    key: "slots",
    label: "Change slots",
    needs: ["slots"],
    fits: () => true,
    effect: (workers) =>
      `${who(workers)} will run at most as many tasks at a time. Running tasks go on. Leave the field empty to return to ` +
      "the setting of the worker itself.",
    run: adjust((input) => ({ concurrency: input.slots.trim() === "" ? null : Number(input.slots) })),
  },
  {
    key: "queues",
    label: "Change queues",
    needs: ["add", "remove"],
    fits: () => true,
    effect: (workers) => `${who(workers)} will take tasks of other queues from now on. Running tasks go on.`,
    run: adjust((input) => ({ add_queues: queueNames(input.add), remove_queues: queueNames(input.remove) })),
  },
  {
    key: "shutdown",
    label: "Shut down",
    danger: true,
    needs: [],
    fits: (worker) => !worker.shutdown && !GONE.has(worker.state),
    effect: (workers) =>
      `${who(workers)} will take no more tasks and stop. ${running(workers)} Starting it again is up to its host.`,
    run: bulk("shutdown"),
  },
  {
    key: "cancel",
    label: "Cancel shutdown",
    needs: [],
    fits: (worker) => worker.shutdown,
    effect: (workers) => `${who(workers)} will stay, unless it is stopping already.`,
    run: bulk("cancel_shutdown"),
  },
  {
    key: "remove",
    label: "Remove",
    danger: true,
    needs: [],
    fits: (worker) => GONE.has(worker.state),
    effect: (workers) =>
      `${who(workers)} will disappear from the fleet, and its credentials are revoked. To come back it needs a new join token.`,
    run: bulk("remove"),
  },
  {
    key: "revoke",
    label: "Revoke credentials",
    danger: true,
    needs: [],
    fits: () => true,
    effect: (workers) =>
      `${who(workers)} loses its connection at once and cannot come back without a new join token. ` +
      (tasks(workers) ? `Its ${count(tasks(workers), "running task")} will be lost.` : "No task is running there now."),
    run: each((name) => write("DELETE", `workers/${inPath(name)}/credentials`)),
  },
];

// What is wrong with the input, or null.
export function mistake(action: Action, input: Input): string | null {
  if (action.needs.includes("comment")) {
    const length = input.comment.trim().length;
    if (!length) return "Say why, for whoever finds the worker in maintenance.";
    if (length > COMMENT_MAX)
      return `The comment has ${length.toLocaleString("en")} characters; the maximum is ${COMMENT_MAX.toLocaleString("en")}.`;
  }
  if (action.needs.includes("slots") && input.slots.trim() !== "") {
    const slots = Number(input.slots);
    if (!Number.isInteger(slots) || slots < 1 || slots > SLOTS_MAX)
      return `Slots are a number from 1 to ${SLOTS_MAX.toLocaleString("en")}.`;
  }
  if (action.needs.includes("add")) {
    const add = queueNames(input.add);
    const both = queueNames(input.remove).filter((name) => add.includes(name));
    if (!add.length && !queueNames(input.remove).length) return "Name a queue to add or to remove.";
    if (both.length) return `Queue ${both[0]} can't be added and removed at once.`;
  }
  return null;
}
