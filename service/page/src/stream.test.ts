import { beforeEach, expect, test, vi } from "vitest";

import { JobStream } from "./stream.svelte";
import { Source } from "./testing";
import type { Job } from "./types";

const JOB = { id: "job_1", state: "running", progress: { step: 0 } } as Job;
let thinned: object[] = [];
const answer = (url: string): object => (url.includes("/metrics") ? { items: thinned, next_cursor: null } : JOB);

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false }));
  vi.stubGlobal("navigator", {}); // without locks: nobody takes turns
  vi.stubGlobal("EventSource", Object.assign(Source, { CLOSED: 2 }));
  vi.stubGlobal("fetch", async (url: string) => Response.json(answer(url)));
  [Source.all, thinned] = [[], []];
});

const moved = (to: string): object => ({ from: "queued", to, at: "2026-11-27T10:00:00Z", reason: "", attempt: 1 });
const metric = (step: number): object => ({ step, epoch: step, elapsed_s: step, train_loss: 1 / step });

test("what a new connection tells again is skipped, and what is new is not", async () => {
  const stream = new JobStream("job_1");
  const stop = stream.open();
  await vi.advanceTimersByTimeAsync(200);
  const first = Source.all.at(-1)!;
  first.tell("state", 1, moved("running"));
  first.tell("metrics", 2, metric(1));
  first.tell("metrics", 5, metric(2));
  first.breakOff();
  await vi.advanceTimersByTimeAsync(3_500);
  const second = Source.all.at(-1)!;
  expect([first.url, second.url]).toEqual([0, 5].map((after) => `/v1/jobs/job_1/events?after=${after}`));
  second.tell("state", 1, moved("running"));
  second.tell("metrics", 2, metric(1));
  second.tell("metrics", 5, metric(2));
  second.tell("metrics", 6, metric(3));
  await vi.advanceTimersByTimeAsync(200);
  expect(stream.metrics.map(({ step }) => step)).toEqual([1, 2, 3]);
  expect(stream.moves.map(({ to }) => to)).toEqual(["running"]);
  second.tell("state", 7, moved("succeeded"));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(second.readyState, "a job that has ended has no stream").toBe(2);
  expect(Source.all).toHaveLength(2);
  stop();
});

test("an answer to an older request changes nothing any more", async () => {
  const answers: ((job: object) => void)[] = [];
  vi.stubGlobal("fetch", () => new Promise((resolve) => answers.push((job) => resolve(Response.json(job)))));
  const stream = new JobStream("job_1");
  const state = async (): Promise<string | undefined> => (await vi.advanceTimersByTimeAsync(0), stream.job?.state);
  const looks = [stream.look(), stream.look(), stream.look()];
  answers[1]!({ ...JOB, state: "paused" });
  expect(await state()).toBe("paused");
  answers[0]!(JOB);
  expect(await state(), "as it was asked for before").toBe("paused");
  stream.take({ ...JOB, state: "cancelled" });
  answers[2]!(JOB);
  expect(await state(), "as it may have been answered before the move").toBe("cancelled");
  await Promise.all(looks);
});

test("a job that has ended stays so", async () => {
  const stream = new JobStream("job_1");
  stream.take({ ...JOB, state: "succeeded" });
  const ended = stream.job;
  stream.take({ ...JOB, state: "succeeded" });
  expect(stream.job, "else all that is asked once it has ended is asked again").toBe(ended);
  stream.take(JOB);
  expect(stream.job).toBe(ended);
});

test("thinned metrics are shown until the stream has told as much", async () => {
  thinned = [metric(1), metric(3)];
  const stream = new JobStream("job_1");
  const stop = stream.open();
  await vi.advanceTimersByTimeAsync(200);
  const steps = (): number[] => stream.metrics.map(({ step }) => step);
  expect(steps()).toEqual([1, 3]);
  const source = Source.all.at(-1)!;
  source.tell("metrics", 1, metric(1));
  source.tell("metrics", 2, metric(2));
  await vi.advanceTimersByTimeAsync(200);
  expect(steps()).toEqual([1, 3]);
  source.tell("metrics", 3, metric(3));
  await vi.advanceTimersByTimeAsync(200);
  expect(steps()).toEqual([1, 2, 3]);
  stop();
});
