import { beforeEach, expect, test, vi } from "vitest";

import { LogStream } from "./logs.svelte";
import { Source } from "./testing";

let left: number[] | null = []; // what the service has after the line that is asked for; null: it is away

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", Object.assign(new EventTarget(), { hidden: false }));
  vi.stubGlobal("navigator", {}); // without locks: nobody takes turns
  vi.stubGlobal("EventSource", Object.assign(Source, { CLOSED: 2 }));
  vi.stubGlobal("fetch", async () => {
    return left ? Response.json({ items: left.map((seq) => ({ seq })), next_cursor: null }) : Response.json({}, { status: 503 });
  });
  [Source.all, left] = [[], []];
});

const addresses = (): string[] => Source.all.map(({ url }) => url);
const seqs = (log: LogStream): number[] => log.lines.map(({ seq }) => seq);

function tellLines(source: Source, ...told: number[]): void {
  source.answer();
  for (const seq of told) source.tell("log", seq, { seq });
  source.end();
}

test("the log of an ended job is whole once nothing comes after its last line", async () => {
  const log = new LogStream("job_1", () => true);
  const stop = log.open();
  tellLines(Source.all[0]!, 1, 2);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([seqs(log), log.isAway, Source.all.length]).toEqual([[1, 2], false, 1]);
  stop();
});

test("one that broke off half-way goes on after what it told", async () => {
  left = [3];
  const log = new LogStream("job_1", () => true);
  const stop = log.open();
  tellLines(Source.all[0]!, 1, 2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect([seqs(log), log.isAway]).toEqual([[1, 2], true]);
  await vi.advanceTimersByTimeAsync(3_000);
  left = [];
  tellLines(Source.all[1]!, 3);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([seqs(log), log.isAway]).toEqual([[1, 2, 3], false]);
  expect(addresses()).toEqual([0, 2].map((after) => `/v1/jobs/job_1/logs/stream?after=${after}`));
  stop();
});

test("a service that is away has not said that nothing was written", async () => {
  left = null;
  for (const hasEnded of [true, false]) {
    const log = new LogStream("job_1", () => hasEnded);
    const stop = log.open();
    Source.all.at(-1)!.end();
    await vi.advanceTimersByTimeAsync(1_000);
    expect([log.hasAnswered, log.isAway]).toEqual([false, true]);
    stop();
  }
});

test("nobody is listened to once nobody looks", async () => {
  const log = new LogStream("job_1", () => true);
  const stop = log.open();
  left = null;
  Source.all[0]!.end();
  stop();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(Source.all).toHaveLength(1);
});
