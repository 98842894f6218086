// Calls of the page's own backend. Every failure is a `BackendError` whose message is a sentence for people.
import type { Problem } from "./schema";

export class BackendError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

export type Params = Record<string, string | string[] | number | null | undefined>;

const root = () => new URL("edge_ui/api/", document.baseURI);

export function address(path: string, params: Params = {}): string {
  const url = new URL(path, root());
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, String(each));
    }
  }
  return url.href;
}

export async function read<T>(path: string, params: Params = {}): Promise<T> {
  return (await call(address(path, params), {})) as T;
}

export async function write<T>(method: string, path: string, body?: unknown): Promise<T> {
  // The header shows that the call comes from this page; the backend refuses changes without it.
  const headers: Record<string, string> = { "X-Edge-UI": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return (await call(address(path), { method, headers, body: JSON.stringify(body) })) as T;
}

async function call(url: string, options: RequestInit): Promise<unknown> {
  let answer: Response;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new BackendError(0, "airflow_away", "Airflow's api-server cannot be reached.");
  }
  if (answer.ok) return answer.status === 204 ? undefined : answer.json();
  const problem = await problemOf(answer);
  if (problem.code === "session_ended") logIn();
  throw new BackendError(answer.status, problem.code, problem.detail);
}

async function problemOf(answer: Response): Promise<Pick<Problem, "code" | "detail">> {
  try {
    const body = (await answer.json()) as Partial<Problem>;
    if (body.code && body.detail) return { code: body.code, detail: body.detail };
  } catch {
    // Not from the backend: a proxy's page.
  }
  return { code: "unexpected", detail: `Airflow's api-server answered ${answer.status}.` };
}

function logIn(): void {
  const login = new URL("api/v2/auth/login", document.baseURI);
  login.searchParams.set("next", window.location.href);
  window.location.assign(login.href);
}

export const inPath = encodeURIComponent;
