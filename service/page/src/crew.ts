// Who computed for a job, and when: its workers as lanes over time.
import type { Move, State, WorkersChange } from "./types";
import { isEnded } from "./types";

/** How a worker began to compute, and why it no longer does. */
export type Began = "started" | "joined" | "replaced";
export type Left = "computing" | "lost" | "left" | "preempted" | "paused" | "stopped" | "ended";

export interface Stretch {
  fromS: number;
  toS: number;
  began: Began;
  left: Left;
}

export interface Lane {
  worker: number;
  stretches: Stretch[];
}

export interface Crew {
  seconds: number;
  lanes: Lane[];
}

type Told = { at: number } & ({ move: Move } | { change: WorkersChange });

/**
 * The lanes of all workers, over the seconds from the first start until the end, or `now`, or what was told last. Null where the service that
 * the job began on did not tell who its workers were.
 */
export function crewOf(moves: Move[], changes: WorkersChange[], now: number): Crew | null {
  const starts = moves.filter((move) => move.to === "running" && move.from !== "running");
  if (!starts.length || starts.some((move) => !move.workers) || changes.some((change) => !change.members || !change.at)) return null;
  const began = Date.parse(starts[0]!.when);
  const lanes = new Map<number, Stretch[]>();
  const open = new Map<number, Stretch>();
  let isFirst = true; // of the changes of an attempt

  const begin = (worker: number, atS: number, how: Began): void => {
    const before = lanes.get(worker) ?? [];
    const stretch: Stretch = { fromS: atS, toS: atS, began: how === "joined" && before.length ? "replaced" : how, left: "computing" };
    lanes.set(worker, [...before, stretch]);
    open.set(worker, stretch);
  };
  const end = (worker: number, atS: number, why: Left): void => {
    Object.assign(open.get(worker)!, { toS: atS, left: why });
    open.delete(worker);
  };

  const story = inOrder(moves, changes);
  let until = Math.max(now, story.at(-1)!.at);
  for (const told of story) {
    const atS = Math.max(0, (told.at - began) / 1000);
    if ("change" in told) {
      if (isFirst && told.change.before) withdraw(lanes, open, told.change.before);
      isFirst = false;
      const members = new Set(told.change.members);
      for (const worker of [...open.keys()]) if (!members.has(worker)) end(worker, atS, told.change.lost ? "lost" : "left");
      for (const worker of members) if (!open.has(worker)) begin(worker, atS, "joined");
    } else if (told.move.to === "running" && told.move.from !== "running") {
      isFirst = true;
      for (let worker = 0; worker < told.move.workers!; worker++) begin(worker, atS, "started");
    } else if (told.move.from === "running" && told.move.to !== "running") {
      for (const worker of [...open.keys()]) end(worker, atS, leftBy(told.move.to, told.move.why));
      if (isEnded(told.move.to)) until = told.at;
    } else if (isEnded(told.move.to)) until = told.at;
  }
  const seconds = Math.max(0.001, (until - began) / 1000);
  for (const stretch of open.values()) stretch.toS = seconds;
  const sorted = [...lanes].sort(([a], [b]) => a - b).filter(([, stretches]) => stretches.length);
  return { seconds, lanes: sorted.map(([worker, stretches]) => ({ worker, stretches })) };
}

/** Those who were expected at the start of an attempt, and had not come by its first change, never computed. */
function withdraw(lanes: Map<number, Stretch[]>, open: Map<number, Stretch>, came: number[]): void {
  for (const [worker, stretch] of [...open]) {
    if (came.includes(worker)) continue;
    open.delete(worker);
    lanes.set(worker, lanes.get(worker)!.filter((each) => each !== stretch));
  }
}

function inOrder(moves: Move[], changes: WorkersChange[]): Told[] {
  const told: Told[] = [
    ...moves.map((move) => ({ at: Date.parse(move.when), move })),
    ...changes.map((change) => ({ at: Date.parse(change.at!), change })),
  ];
  return told.sort((a, b) => a.at - b.at);
}

function leftBy(to: State, why: string): Left {
  if (isEnded(to)) return "ended";
  if (to === "paused") return why.startsWith("preempted") ? "preempted" : "paused";
  return /service (stopped|was interrupted)/.test(why) ? "stopped" : "lost";
}

const BEGAN: Record<Began, string> = { started: "computed", joined: "joined, computed", replaced: "was replaced, computed" };
const LEFT: Record<Left, string> = {
  computing: "and still does",
  lost: "then was lost",
  left: "then left",
  preempted: "then gave way",
  paused: "then paused",
  stopped: "then stopped with the service",
  ended: "to the end",
};

/** A stretch in words. */
export function stretchSaid(stretch: Stretch, said: (seconds: number) => string): string {
  const { fromS, toS, began, left } = stretch;
  return `${BEGAN[began]} from ${said(fromS)} to ${said(toS)}, ${LEFT[left]}`;
}
