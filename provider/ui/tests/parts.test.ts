import { describe, expect, it } from "vitest";
import { merged } from "../src/queries";
import { nameFor, quoted, steps } from "../src/recipes";
import { actorName, age, progress } from "../src/words";
import { ACTION_LIST, mistake } from "../src/workers/actions";
import { selected, sorted } from "../src/workers/select";
import { news, worker } from "./host";

describe("the fleet", () => {
  it("keeps what did not change, and forgets who was removed", () => {
    const first = merged(undefined, news([worker({ revision: 5 }), worker({ name: "gone" })]));
    const next = merged(first, news([worker({ revision: 4, state: "offline" })], { reset: false, removed: ["gone"] }));
    expect([...next.workers.keys()]).toEqual(["plant-7"]);
    expect(next.workers.get("plant-7")?.state).toBe("idle");
  });

  it("is sorted and filtered", () => {
    const fleet = [
      worker({ name: "b", queues: ["*"] }),
      worker({ name: "a", state: "unknown" }),
      worker({ name: "c" }),
    ];
    expect(sorted(fleet, "-name").map(({ name }) => name)).toEqual(["c", "b", "a"]);
    const all = { state: "", queue: "", team: "", text: "" };
    expect(selected(fleet, { ...all, state: "online" })).toHaveLength(2);
    expect(selected(fleet, { ...all, queue: "paint" }).map(({ name }) => name)).toEqual(["b"]);
    expect(selected(fleet, { ...all, text: "C" }).map(({ name }) => name)).toEqual(["c"]);
    const placed = worker({ name: "d", sysinfo: { site: "Plant 7, hall B" } });
    expect(selected([...fleet, placed], { ...all, text: "hall b" }).map(({ name }) => name)).toEqual(["d"]);
  });
});

it("a worker out of contact says until when its tasks are kept", () => {
  const kept = worker({ state: "unknown", jobs_active: 2, jobs_kept_until: "2026-11-27T12:00:00" });
  expect(progress(kept)).toBe("2 tasks kept until 27/11/2026, 12:00:00");
  expect(progress(worker({ state: "unknown" }))).toBeNull();
});

it("a comment of 10,000 characters is refused in words", () => {
  const action = ACTION_LIST[0];
  if (!action) throw new Error("no action");
  const input = { comment: "x".repeat(10_000), slots: "", add: "", remove: "" };
  expect(mistake(action, input)).toBe("The comment has 10,000 characters; the maximum is 1,024.");
});

it("actors are shown as people know them", () => {
  const id = "0198c2a0-0000-7000-8000-0000000000aa";
  expect(actorName(`user:jörg: ops via admin:fleet page:${id}`)).toBe("jörg: ops");
  expect(actorName(`admin:anna:${id}`)).toBe("anna");
  expect(actorName("worker:plant-7")).toBe("worker:plant-7");
});

it("ages are short", () => {
  expect([5, 90, 7200, 864_000].map(age)).toEqual(["5 s", "1 min", "2 h", "10 days"]);
});

describe("commands", () => {
  it("quote what the shell would read", () => {
    expect(quoted("it's $HOME")).toBe(`'it'\\''s $HOME'`);
    expect(nameFor("plant-*")).toBe("plant-1");
  });

  it.each(["systemd", "compose", "command", "kubernetes"] as const)("for %s", (kind) => {
    expect(
      steps(kind, { name: "plant-7", url: "https://edge.example.com", queues: ["press", "a b"] }),
    ).toMatchSnapshot();
  });
});
