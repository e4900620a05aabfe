import { expect, test } from "vitest";

import { crewOf, stretchSaid } from "./crew";
import type { Move, State, WorkersChange } from "./types";

const at = (second: number): string => new Date(Date.UTC(2026, 10, 27, 10, 0, second)).toISOString();
const move = (second: number, from: State | null, to: State, why = "", workers?: number): Move => ({ from, to, when: at(second), why, attempt: 1, ...(workers ? { workers } : {}) });
const change = (second: number, before: number[], members: number[], lost = false): WorkersChange => ({ at: at(second), before, members, lost, workers: members.length, step: 0, why: "" });
const NOW = Date.parse(at(60));
const QUEUED = move(0, null, "queued");
const STARTED = move(10, "queued", "running", "started on 2 CPUs", 2);

test("a worker that is lost and replaced has two stretches", () => {
  const crew = crewOf([QUEUED, STARTED], [change(15, [0, 1], [0], true), change(20, [0], [0, 1])], NOW);
  expect(crew).toEqual({
    seconds: 50,
    lanes: [
      { worker: 0, stretches: [{ fromS: 0, toS: 50, began: "started", left: "computing" }] },
      {
        worker: 1,
        stretches: [
          { fromS: 0, toS: 5, began: "started", left: "lost" },
          { fromS: 10, toS: 50, began: "replaced", left: "computing" },
        ],
      },
    ],
  });
});

test("who joined later than the attempt began did not compute before", () => {
  const crew = crewOf([QUEUED, STARTED], [change(12, [0], [0, 1])], NOW);
  expect(crew!.lanes[1]!.stretches).toEqual([{ fromS: 2, toS: 50, began: "joined", left: "computing" }]);
});

test("a job that gives way, resumes and ends closes all lanes each time", () => {
  const moves = [QUEUED, STARTED, move(20, "running", "paused", "preempted by job_2"), move(30, "paused", "running", "resumed on 1 CPU", 1), move(40, "running", "succeeded")];
  expect(crewOf(moves, [], NOW)).toEqual({
    seconds: 30,
    lanes: [
      {
        worker: 0,
        stretches: [
          { fromS: 0, toS: 10, began: "started", left: "preempted" },
          { fromS: 20, toS: 30, began: "started", left: "ended" },
        ],
      },
      { worker: 1, stretches: [{ fromS: 0, toS: 10, began: "started", left: "preempted" }] },
    ],
  });
});

test("a lost attempt, a stop of the service and a pause are told apart", () => {
  const left = (to: State, why: string): string | undefined => crewOf([QUEUED, STARTED, move(20, "running", to, why)], [], NOW)!.lanes[0]!.stretches[0]!.left;
  expect(left("queued", "a node died; tried again from the newest checkpoint")).toBe("lost");
  expect(left("queued", "the service stopped; resumes from its checkpoint at the next start")).toBe("stopped");
  expect(left("paused", "paused by request")).toBe("paused");
});

test("no lane ends before the last thing that was told, however late it is by the clock", () => {
  const crew = crewOf([QUEUED, STARTED], [change(15, [0, 1], [0], true)], Date.parse(at(0)));
  expect(crew!.seconds).toBe(5);
  expect(crew!.lanes.flatMap(({ stretches }) => stretches.map(({ toS }) => toS))).toEqual([5, 5]);
});

test("trouble while it trains is no start", () => {
  expect(crewOf([QUEUED, STARTED, move(15, "running", "running", "the disk is full")], [], NOW)!.lanes).toHaveLength(2);
});

test("nothing is drawn of what was not told", () => {
  expect(crewOf([QUEUED], [], NOW)).toBeNull();
  expect(crewOf([QUEUED, move(10, "queued", "running", "started on 2 CPUs")], [], NOW)).toBeNull();
  expect(crewOf([QUEUED, STARTED], [{ workers: 1, step: 0, why: "resized" }], NOW)).toBeNull();
});

test("a stretch is said in words", () => {
  expect(stretchSaid({ fromS: 1, toS: 4, began: "replaced", left: "lost" }, (s) => `${s} s`)).toBe("was replaced, computed from 1 s to 4 s, then was lost");
});
