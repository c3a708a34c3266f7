// Asks the worker that served this page.

/** An error as the API gives it (RFC 9457), or one of the way there. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
  ) {
    super(detail || title);
  }

  /** Nobody answered: not an answer of the worker. */
  static unreachable(): Problem {
    return new Problem(
      0,
      "unreachable",
      "The worker does not answer",
      "Check that it runs and that this machine reaches it. The page goes on by itself once it answers.",
    );
  }

  /** Of whatever was thrown. */
  static of(error: unknown): Problem {
    if (error instanceof Problem) return error;
    const text = error instanceof Error ? error.message : String(error);
    return new Problem(0, "page", "The page has a fault", text);
  }
}

type Listener = () => void | Promise<void>;
let whenSignedOut: Listener = () => {};

/** Who is to be told that the sign-in has ended. */
export function onSignedOut(listener: Listener): void {
  whenSignedOut = listener;
}

async function problemOf(answer: Response): Promise<Problem> {
  const body = await answer.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : "";
  const title = typeof body.title === "string" ? body.title : `The worker answered ${answer.status}`;
  return new Problem(answer.status, String(body.code ?? ""), title, detail);
}

/** Any request; throws a `Problem` unless the answer is a success. */
export async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw Problem.unreachable();
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (answer.status === 401 && path !== "/v1/sign-in") void whenSignedOut();
  throw problem;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask(path, { signal: signal ?? null })).json();
}

/** A request with a JSON body, or without one. */
export async function send<T = void>(
  method: "POST" | "PATCH" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<T> {
  const answer = await ask(path, {
    method,
    headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await answer.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

/** Entries of the largest page. */
const PAGE_MAX = 200;

/** The beginning of a list: as many pages as `most` entries fill. */
export async function some<Name extends string, T>(
  path: string,
  name: Name,
  most: number,
): Promise<{ entries: T[]; isAll: boolean }> {
  let entries: T[] = [];
  let after = "";
  let left = Math.ceil(most / PAGE_MAX);
  do {
    const joint = path.includes("?") ? "&" : "?";
    const page = await get<Record<Name, T[]> & { next?: string | null }>(
      `${path}${joint}limit=${PAGE_MAX}${after}`,
    );
    entries = entries.concat(page[name]);
    after = page.next ? `&after=${encodeURIComponent(page.next)}` : "";
    left -= 1;
  } while (after && left > 0);
  return { entries, isAll: after === "" };
}

/** The same, for lists that are known to have no more. */
export async function pages<Name extends string, T>(
  path: string,
  name: Name,
  most: number,
): Promise<T[]> {
  return (await some<Name, T>(path, name, most)).entries;
}

/** A key for a request that must not be done twice. (`randomUUID` is for pages that came by TLS.) */
export function idempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
