import { beforeEach, expect, test, vi } from "vitest";

import { JobList } from "./jobs.svelte";
import type { Job, State } from "./types";

let jobs: Job[] = []; // what the service has, newest first
let asked: URL[] = [];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("fetch", async (path: string) => {
    const url = new URL(path, "http://service");
    asked.push(url);
    return answer(url);
  });
  [jobs, asked] = [[], []];
});

function made(count: number, state: State): Job[] {
  return Array.from({ length: count }, (_, number) => ({ id: `${state} ${count - number}`, state }) as Job);
}

function answer({ pathname, searchParams }: URL): Response {
  if (pathname !== "/v1/jobs") return Response.json(jobs.find(({ id }) => pathname === encodeURI(`/v1/jobs/${id}`)));
  const [states, from] = [searchParams.getAll("state"), Number(searchParams.get("cursor") ?? 0)];
  const until = from + Number(searchParams.get("limit"));
  const found = jobs.filter(({ state }) => !states.length || states.includes(state));
  return Response.json({ items: found.slice(from, until), next_cursor: until < found.length ? String(until) : null });
}

const ofQueue = (): number => asked.filter((url) => url.searchParams.get("state") === "queued").length;
const refresh = (list: JobList): Promise<void> => list.refresh(new AbortController().signal);

test("the queue is asked for every ten seconds, and those that run each time", async () => {
  jobs = [...made(600, "queued"), ...made(1, "running")];
  const list = new JobList();
  await list.load({ name: "", states: [], owner: "" });
  asked = [];
  for (let turn = 0; turn < 10; turn++) {
    await vi.advanceTimersByTimeAsync(2_000);
    await refresh(list);
  }
  expect(ofQueue()).toBe(2);
  expect(asked.filter((url) => url.searchParams.get("state") === "running")).toHaveLength(10);
  jobs[590] = { ...jobs[590]!, state: "running" };
  await refresh(list);
  const moved = (): Job => list.items.find(({ id }) => id === jobs[590]!.id)!;
  expect(moved().state).toBe("running");
  jobs[590] = { ...jobs[590]!, state: "succeeded" };
  await refresh(list);
  expect(moved().state).toBe("succeeded");
});

test("of a queue that was asked for a moment ago none is looked up", async () => {
  jobs = made(300, "queued");
  const list = new JobList();
  await list.load({ name: "", states: [], owner: "" });
  asked = [];
  await refresh(list);
  expect(asked.map(({ pathname }) => pathname)).toEqual(["/v1/jobs", "/v1/jobs"]);
});
