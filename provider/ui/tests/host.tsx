// The page as in Airflow, and a backend whose answers a test chooses.
import { ChakraProvider, defaultSystem } from "@chakra-ui/react";
import { cleanup, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { createMemoryRouter, RouterProvider } from "react-router-dom";
import { afterEach, beforeAll, vi } from "vitest";
import { client } from "../src/queries";
import type { FleetNews, Session, WorkerView } from "../src/schema";

export const OPERATOR: Session = {
  user: "anna",
  may_act: true,
  may_mint: true,
  may_audit: true,
  teams: null,
  sites_url: "https://edge.example.com",
  version: "0.1.0",
};
export const VIEWER: Session = { ...OPERATOR, user: "vera", may_act: false, may_mint: false, may_audit: false };

export function worker(changes: Partial<WorkerView> = {}): WorkerView {
  const now = new Date().toISOString();
  return {
    name: "plant-7",
    state: "idle",
    team: null,
    queues: ["press"],
    queues_added: [],
    queues_removed: [],
    concurrency: 8,
    concurrency_override: null,
    jobs_active: 0,
    slots_free: 8,
    slots_used: 0,
    maintenance: null,
    shutdown: false,
    cordon: { reasons: [] },
    protocol: 2,
    versions: { worker: "0.1.0", airflow: "3.3.2", python: "3.11.9", platform: "Linux" },
    sysinfo: { cpu_percent: 12.5 },
    outage_tolerance_s: 600,
    first_online: now,
    last_heartbeat: now,
    revision: 1,
    credential_expires_at: null,
    ...changes,
  };
}

export function news(workers: WorkerView[], changes: Partial<FleetNews> = {}): FleetNews {
  return {
    since: "1.1",
    reset: true,
    workers,
    removed: [],
    as_of: new Date().toISOString(),
    problem: null,
    ...changes,
  };
}

type Answer = unknown | ((call: Call) => unknown);
export interface Call {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  headers: Headers;
}

export class Refusal {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
  ) {}
}

// `answers` by "METHOD path"; everything else is a mistake of the test.
export function backend(answers: Record<string, Answer>): Call[] {
  const calls: Call[] = [];
  vi.stubGlobal("fetch", async (url: string, options: RequestInit = {}) => {
    const { pathname, searchParams } = new URL(url);
    const call = {
      method: options.method ?? "GET",
      path: decodeURIComponent(pathname.replace(/^.*\/edge_ui\/api\//, "")),
      query: searchParams,
      body: options.body ? JSON.parse(String(options.body)) : undefined,
      headers: new Headers(options.headers),
    };
    calls.push(call);
    const key = `${call.method} ${call.path}`;
    if (!(key in answers)) throw new Error(`unexpected call: ${key}`);
    const answer = answers[key];
    const found = typeof answer === "function" ? answer(call) : answer;
    if (found instanceof Refusal) {
      const { status, code, detail } = found;
      return new Response(JSON.stringify({ title: code, status, code, detail }), { status });
    }
    return found === undefined ? new Response(null, { status: 204 }) : new Response(JSON.stringify(found));
  });
  return calls;
}

export function show(page: ReactNode, address = "/plugin/edge") {
  const router = createMemoryRouter([{ path: "*", element: page }], { initialEntries: [address] });
  render(
    <ChakraProvider value={defaultSystem}>
      <RouterProvider router={router} />
    </ChakraProvider>,
  );
  return router;
}

beforeAll(() => {
  // What jsdom lacks and Chakra asks for.
  vi.stubGlobal(
    "ResizeObserver",
    class {
      observe() {}
      unobserve() {}
      disconnect() {}
    },
  );
  window.matchMedia ??= () => ({ matches: false, addEventListener() {}, removeEventListener() {} }) as never;
  Element.prototype.scrollTo ??= () => {};
});

afterEach(() => {
  cleanup();
  client.clear();
});
