import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { FleetPage } from "../src/FleetPage";
import { SummaryLine } from "../src/SummaryLine";
import { TaskTab } from "../src/TaskTab";
import { backend, news, OPERATOR, Refusal, show, VIEWER, worker } from "./host";

const ANSWERS = { "GET session": OPERATOR, "GET fleet": news([worker()]) };
const user = userEvent.setup();

describe("workers", () => {
  it("are listed with state, slots and queues", async () => {
    backend({ ...ANSWERS, "GET fleet": news([worker(), worker({ name: "plant-8", state: "unknown" })]) });
    show(<FleetPage />);
    const row = (await screen.findByRole("button", { name: "plant-7" })).closest("tr") as HTMLElement;
    expect(within(row).getByText("Idle")).toBeTruthy();
    expect(within(row).getByRole("meter", { name: "Slots of plant-7" }).getAttribute("aria-valuemax")).toBe("8");
    expect(screen.getByRole("button", { name: "1 unknown" })).toBeTruthy();
  });

  it("can be filtered, and the filter is in the address", async () => {
    backend({ ...ANSWERS, "GET fleet": news([worker(), worker({ name: "plant-8", state: "unknown" })]) });
    const router = show(<FleetPage />);
    await user.click(await screen.findByRole("button", { name: "1 unknown" }));
    expect(router.state.location.search).toBe("?state=unknown");
    expect(screen.queryByRole("button", { name: "plant-7" })).toBeNull();
    expect(screen.getByRole("button", { name: "plant-8" })).toBeTruthy();
  });

  it("say what to do next where there is none", async () => {
    backend({ ...ANSWERS, "GET fleet": news([]) });
    show(<FleetPage />);
    expect(await screen.findByText("No worker yet")).toBeTruthy();
    expect(screen.getByRole("button", { name: "Add a worker" })).toBeTruthy();
  });

  it("are put into maintenance with a comment, by the page's header", async () => {
    const calls = backend({
      ...ANSWERS,
      "POST workers/bulk": { results: [{ name: "plant-7", ok: true, code: "done", detail: "" }] },
    });
    show(<FleetPage />);
    await user.click(await screen.findByLabelText("Select plant-7"));
    await user.click(await screen.findByRole("button", { name: "Start maintenance" }));
    const dialog = await screen.findByRole("dialog");
    expect(within(dialog).getByText(/will be given no more tasks/)).toBeTruthy();
    await user.click(within(dialog).getByRole("button", { name: "Start maintenance" }));
    expect(await within(dialog).findByText(/Say why/)).toBeTruthy();
    await user.type(within(dialog).getByLabelText(/Comment/), "new disk");
    await user.click(within(dialog).getByRole("button", { name: "Start maintenance" }));
    const call = calls.find(({ method }) => method === "POST");
    expect(call?.body).toEqual({ action: "maintenance", names: ["plant-7"], comment: "new disk" });
    expect(call?.headers.get("X-Edge-UI")).toBe("1");
  });

  it("show what was refused, in words", async () => {
    backend({
      ...ANSWERS,
      "POST workers/bulk": {
        results: [{ name: "plant-7", ok: false, code: "x", detail: "Worker plant-7 stops already." }],
      },
    });
    show(<FleetPage />);
    await user.click(await screen.findByLabelText("Select plant-7"));
    await user.click(await screen.findByRole("button", { name: "Shut down" }));
    const dialog = await screen.findByRole("alertdialog");
    await user.click(within(dialog).getByRole("button", { name: "Shut down" }));
    expect(await within(dialog).findByText(/Worker plant-7 stops already/)).toBeTruthy();
  });

  it("offer a viewer nothing to do", async () => {
    backend({ ...ANSWERS, "GET session": VIEWER });
    show(<FleetPage />);
    await screen.findByRole("button", { name: "plant-7" });
    expect(screen.queryByLabelText("Select plant-7")).toBeNull();
    expect(screen.queryByRole("tab", { name: "Add a worker" })).toBeNull();
    expect(screen.queryByRole("tab", { name: "Audit" })).toBeNull();
  });

  it("stay on the page with their age while the edge API is away", async () => {
    const problem = {
      type: "",
      title: "",
      status: 503,
      code: "edge_api_away",
      detail: "The edge API cannot be reached.",
    };
    const asOf = new Date(Date.now() - 120_000).toISOString();
    backend({ ...ANSWERS, "GET fleet": news([worker()], { problem, as_of: asOf }) });
    show(<FleetPage />);
    expect(await screen.findByText("Shown is the state of 2 min ago")).toBeTruthy();
    expect(screen.getByText("The edge API cannot be reached.")).toBeTruthy();
    expect(screen.getByRole("button", { name: "plant-7" })).toBeTruthy();
  });

  it("are replaced by the reason where nothing is known", async () => {
    backend({
      ...ANSWERS,
      "GET fleet": new Refusal(503, "not_configured", "The api-server does not know the edge API."),
    });
    show(<FleetPage />);
    expect(await screen.findByText("The api-server does not know the edge API.")).toBeTruthy();
  });

  it("show markup as text", async () => {
    const comment = "<img src=x onerror=alert(1)>";
    backend({
      ...ANSWERS,
      "GET fleet": news([worker({ state: "maintenance mode", maintenance: { comment, by: "anna", at: null } })]),
    });
    show(<FleetPage />);
    expect(await screen.findByText(comment)).toBeTruthy();
    expect(document.querySelector("img")).toBeNull();
  });
});

it("a session that has ended leads to the login", async () => {
  const assign = vi.fn();
  vi.stubGlobal("location", { ...window.location, href: "http://localhost/plugin/edge", assign });
  backend({ "GET session": new Refusal(401, "session_ended", "Log in again."), "GET fleet": news([]) });
  show(<FleetPage />);
  expect(await screen.findByText("Log in again.")).toBeTruthy();
  expect(assign).toHaveBeenCalledWith(expect.stringContaining("api/v2/auth/login?next="));
  vi.unstubAllGlobals();
});

it("a queue that nobody serves has a warning", async () => {
  const queue = {
    queue: "paint",
    depth: 3,
    oldest_s: 90,
    slots_free: 0,
    slots_used: 0,
    workers_capable: 0,
    workers_cordoned: 0,
    arrived_per_min: 0.6,
    finished_per_min: 0,
  };
  backend({ ...ANSWERS, "GET queues": { items: [queue] } });
  show(<FleetPage />, "/plugin/edge?tab=queues");
  expect(await screen.findByText("3 jobs of queue paint can't start")).toBeTruthy();
  expect(screen.getByText("1 min")).toBeTruthy();
});

it("the token is on the page only, and the commands do not have it", async () => {
  const token = { id: "1", token: "secret-token", worker_pattern: "plant-9", queues: null, team: null, uses_left: 1 };
  const later = new Date(Date.now() + 1e6).toISOString();
  const calls = backend({
    ...ANSWERS,
    "GET tokens": { items: [], next: null },
    "POST tokens": { ...token, created_at: later, expires_at: later, revoked_at: null },
  });
  const router = show(<FleetPage />, "/plugin/edge?tab=add");
  await user.type(await screen.findByLabelText(/Name or pattern/), "plant-9");
  await user.click(screen.getByRole("button", { name: "Create a join token" }));
  expect(await screen.findByText("secret-token")).toBeTruthy();
  expect(calls.find(({ method }) => method === "POST")?.body).toMatchObject({ worker_pattern: "plant-9", uses: 1 });
  const command = screen.getByText(/install.sh install/).textContent ?? "";
  expect(command).not.toContain("secret-token");
  expect(command).toContain("--join-token-file -");
  expect(router.state.location.search).not.toContain("secret");
  expect(screen.getByText(/Waiting for the worker/)).toBeTruthy();
});

it("a task says why it waits", async () => {
  const job = {
    id: "1",
    kind: "task",
    state: "queued",
    queue: "paint",
    team: null,
    priority: 1,
    slots: 1,
    dag_id: "d",
    task_id: "t",
    run_id: "r",
    map_index: -1,
    try_number: 1,
    worker: null,
    lease_id: null,
    queued_at: new Date().toISOString(),
    leased_at: null,
    started_at: null,
    finished_at: null,
    exit_code: null,
    error: null,
    hidden: false,
  };
  const why = { job, verdict: "no_worker", message: "No worker serves queue paint.", workers: [] };
  const calls = backend({ "GET task": { tries: [job], why, worker: null } });
  show(<TaskTab dagId="d" runId="r" taskId="t" />);
  expect(await screen.findByText("No worker serves queue paint.")).toBeTruthy();
  expect(calls[0]?.query.get("map_index")).toBe("-1");
});

it("the dashboard has one line", async () => {
  const summary = {
    workers: { idle: 9, running: 3, unknown: 1 },
    slots: 96,
    slots_used: 41,
    jobs_queued: 12,
    oldest_s: 65,
    queues_unserved: ["paint"],
  };
  backend({ "GET summary": summary });
  show(<SummaryLine />);
  expect(
    await screen.findByText(
      "12 of 13 workers online · 1 unknown · 41 of 96 slots used · 12 jobs waiting, the oldest for 1 min",
    ),
  ).toBeTruthy();
  expect(screen.getByText("Nobody serves paint.")).toBeTruthy();
});
