// The REST API: requests, and its errors as one kind of exception.
import { learnTime } from "./live.svelte";
import { signedOut } from "./session.svelte";
import type { FieldProblem, Job, JsonObject, Page } from "./types";

export const NO_ANSWER = "The service does not answer. It may be starting, or the network is away.";

/** A request that was refused or failed; `status` is 0 where there was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly errors: FieldProblem[] = [],
    readonly requestId = "",
  ) {
    super(detail);
  }
}

/** The answer's JSON (undefined for none). Throws Problem. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  let answer: Response;
  const sentAt = Date.now();
  try {
    answer = await fetch(path, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, NO_ANSWER);
  }
  learnTime(answer, sentAt);
  if (!answer.ok) throw await problemOf(answer);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return request<T>(path, signal ? { signal } : {});
}

/** Sends a body as JSON, if there is one. */
export function send<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return request<T>(path, { method, ...(body === undefined ? {} : json(body)), ...(signal ? { signal } : {}) });
}

/** Sends a spec to be trained; sent again with the same key, because no answer came, it is still one job. Throws Problem. */
export function submitJob(spec: JsonObject, key: string): Promise<Job> {
  const { headers, body } = json(spec);
  return request<Job>("/v1/jobs", { method: "POST", headers: { ...headers, "Idempotency-Key": key }, body });
}

function json(body: unknown): { headers: Record<string, string>; body: string } {
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** Each page of a list, until its end or `most` items. */
export async function* pages<T>(path: string, most: number, signal?: AbortSignal): AsyncGenerator<T[]> {
  let cursor: string | null = null;
  let seen = 0;
  do {
    const joint = path.includes("?") ? "&" : "?";
    const page: Page<T> = await get(cursor ? `${path}${joint}cursor=${encodeURIComponent(cursor)}` : path, signal);
    yield page.items;
    seen += page.items.length;
    cursor = page.next_cursor;
  } while (cursor !== null && seen < most);
}

/** What an answer that is no success tells of. */
export async function problemOf(answer: Response): Promise<Problem> {
  return problemFrom(answer.status, await answer.json().catch(() => ({})));
}

/** The problem that a problem document (RFC 9457) tells of; a session that is over leads to the sign-in. */
export function problemFrom(status: number, body: { detail?: string; errors?: FieldProblem[]; request_id?: string }): Problem {
  if (status === 401) signedOut();
  return new Problem(status, body.detail ?? `The service answered ${status}.`, body.errors, body.request_id);
}

/** The text of whatever was thrown. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
