import { beforeEach, expect, test, vi } from "vitest";

import { JobList } from "./jobs.svelte";
import type { Job, State } from "./types";

let jobs: Job[] = []; // what the service has, newest first
let asked: URL[] = [];
let failing: (url: URL) => boolean = () => false;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("fetch", async (path: string) => {
    const url = new URL(path, "http://service");
    asked.push(url);
    return failing(url) ? Response.json({ detail: "the database is away" }, { status: 503 }) : answer(url);
  });
  [jobs, asked, failing] = [[], [], () => false];
});

/** Sorts by age, as ULIDs do. */
const idOf = (state: State, number: number): string => `${String(number).padStart(6, "0")} ${state}`;

function made(count: number, state: State): Job[] {
  return Array.from({ length: count }, (_, number) => ({ id: idOf(state, count - number), state, spec: { dataset: "d", target: "t", features: ["a"] } }) as unknown as Job);
}

function answer({ pathname, searchParams }: URL): Response {
  if (pathname !== "/v1/jobs") return Response.json(jobs.find(({ id }) => pathname === encodeURI(`/v1/jobs/${id}`)));
  const [states, from] = [searchParams.getAll("state"), Number(searchParams.get("cursor") ?? 0)];
  const until = from + Number(searchParams.get("limit"));
  const found = jobs.filter(({ state }) => !states.length || states.includes(state));
  return Response.json({ items: found.slice(from, until), next_cursor: until < found.length ? String(until) : null });
}

const ALL = { name: "", states: [], owner: "", label: "" };
const ofQueue = (): number => asked.filter((url) => url.searchParams.get("state") === "queued").length;
const refresh = (list: JobList): Promise<void> => list.refresh(new AbortController().signal);

test("the queue is asked for every ten seconds, and those that run each time", async () => {
  jobs = [...made(600, "queued"), ...made(1, "running")];
  const list = new JobList();
  await list.load(ALL);
  asked = [];
  for (let turn = 0; turn < 10; turn++) {
    await vi.advanceTimersByTimeAsync(2_000);
    await refresh(list);
  }
  expect(ofQueue()).toBe(2);
  expect(asked.filter((url) => url.searchParams.get("state") === "running")).toHaveLength(10);
  jobs[590] = { ...jobs[590]!, state: "running" };
  await refresh(list);
  const moved = (): Pick<Job, "state"> => list.items.find(({ id }) => id === jobs[590]!.id)!;
  expect(moved().state).toBe("running");
  jobs[590] = { ...jobs[590]!, state: "succeeded" };
  await refresh(list);
  expect(moved().state).toBe("succeeded");
});

test("of a queue that was asked for a moment ago none is looked up", async () => {
  jobs = made(300, "queued");
  const list = new JobList();
  await list.load(ALL);
  asked = [];
  await refresh(list);
  expect(asked.map(({ pathname }) => pathname)).toEqual(["/v1/jobs", "/v1/jobs"]);
});

const cursors = (): (string | null)[] => asked.filter(({ search }) => search.includes("limit=200")).map((url) => url.searchParams.get("cursor"));

test("a list that failed half-way says that there are more, and goes on from there", async () => {
  jobs = made(1_000, "succeeded");
  const list = new JobList();
  failing = (url) => url.searchParams.get("cursor") === "400";
  await expect(list.load(ALL)).rejects.toThrow("the database is away");
  expect([list.items.length, list.loading, list.hasMore]).toEqual([400, false, true]);
  await expect(refresh(list), "else its trouble is taken for over").rejects.toThrow("the database is away");
  asked = [];
  failing = () => false;
  await refresh(list);
  expect(cursors()).toEqual(["400", "600", "800"]);
  expect([list.items.length, list.loading, list.hasMore]).toEqual([1_000, false, false]);
});

test("a list that failed at its beginning shows nothing of the one before, and begins again", async () => {
  jobs = made(10, "succeeded");
  const list = new JobList();
  await list.load(ALL);
  failing = ({ searchParams }) => searchParams.has("name");
  await expect(list.load({ ...ALL, name: "b" })).rejects.toThrow("the database is away");
  expect([list.items, list.loading]).toEqual([[], false]);
  failing = () => false;
  await refresh(list);
  expect([list.items.length, list.hasMore]).toEqual([10, false]);
});

test("a list says that there are more than are worth scrolling through, and asks for no more of them", async () => {
  jobs = made(20_300, "succeeded");
  const list = new JobList();
  await list.load(ALL);
  expect([list.items.length, list.hasMore]).toEqual([20_000, true]);
  asked = [];
  await refresh(list);
  expect(cursors()).toEqual([]);
});

test("a list that nobody looks at loads no more, and goes on where it was", async () => {
  jobs = made(1_000, "succeeded");
  const list = new JobList();
  failing = (url) => (url.searchParams.get("cursor") === "400" && list.close(), false);
  await list.load(ALL);
  failing = () => false;
  expect([list.items.length, list.loading, list.hasMore]).toEqual([400, false, true]);
  asked = [];
  await list.load(ALL);
  expect(asked, "it is there").toEqual([]);
  await refresh(list);
  expect(cursors()).toEqual(["400", "600", "800"]);
  expect([list.items.length, list.hasMore]).toEqual([1_000, false]);
});

test("a list that was left before anything came is loaded when it is looked at again", async () => {
  jobs = made(10, "succeeded");
  const list = new JobList();
  const loading = list.load(ALL);
  list.close();
  await loading;
  await list.load(ALL);
  expect([list.items.length, list.loading]).toEqual([10, false]);
});

test("a list that is full leaves out its oldest jobs for new ones, and never those that have not ended", async () => {
  jobs = [...made(19_998, "succeeded"), ...made(1, "running")];
  const list = new JobList();
  await list.load(ALL);
  jobs = [...made(20_003, "succeeded"), ...made(1, "running")];
  await refresh(list);
  expect([list.items.length, list.hasMore]).toEqual([20_000, true]);
  const ids = new Set(list.items.map(({ id }) => id));
  expect([idOf("running", 1), idOf("succeeded", 5), idOf("succeeded", 4)].map((id) => ids.has(id))).toEqual([true, true, false]);
  asked = [];
  await refresh(list);
  expect(cursors(), "what it has left out is not loaded again").toEqual([]);
});

test("ended jobs that others have deleted leave the list", async () => {
  jobs = made(60, "succeeded");
  const list = new JobList();
  await list.load(ALL);
  jobs = jobs.filter(({ id }) => ![idOf("succeeded", 60), idOf("succeeded", 30)].includes(id));
  await refresh(list);
  expect(list.items).toHaveLength(58);
  jobs = made(1, "failed");
  await list.load({ ...ALL, states: ["failed"] });
  jobs = [];
  await refresh(list);
  expect(list.items).toEqual([]);
});

test("a list keeps of a spec what its rows show", async () => {
  jobs = made(1, "running");
  const list = new JobList();
  await list.load(ALL);
  await refresh(list);
  expect(list.items[0]!.spec).toEqual({ dataset: "d", target: "t" });
});
