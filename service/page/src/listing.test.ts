import { expect, test } from "vitest";

import { admits, astray, queryOf, type Filter } from "./listing";
import type { Job, State } from "./types";

const job = (id: string, state: State): Job => ({ id, state }) as Job;
const filter = (states: State[], name = "", owner = "", label = ""): Filter => ({ states, name, owner, label });
const ids = (jobs: Pick<Job, "id">[]): string[] => jobs.map(({ id }) => id);

test("a filter is a query", () => {
  expect(queryOf(filter([]))).toBe("");
  expect(queryOf(filter(["running", "queued"], "a&b", "me"))).toBe("&state=running&state=queued&name=a%26b&owner=me");
  expect(queryOf(filter([], "", "", "team=risk"))).toBe("&label=team%3Drisk");
});

test("a job that has moved on is no longer let through", () => {
  expect(admits(filter([]), job("a", "failed"))).toBe(true);
  expect(admits(filter(["running"]), job("a", "running"))).toBe(true);
  expect(admits(filter(["running"]), job("a", "paused"))).toBe(false);
});

test("what ran and is gone is looked up before what waited, and nothing that has ended", () => {
  const known = [job("a", "queued"), job("b", "succeeded"), job("c", "running"), job("d", "paused"), job("e", "running")];
  expect(ids(astray(known, new Set(["e"])))).toEqual(["c", "d", "a"]);
});

test("twenty are looked up at a turn, and others at the next when those come last", () => {
  const known = Array.from({ length: 50 }, (_, number) => job(String(number), "queued"));
  const first = astray(known, new Set());
  expect(ids(first)).toEqual(ids(known.slice(0, 20)));
  expect(ids(astray([...known.slice(20), ...first], new Set()))).toEqual(ids(known.slice(20, 40)));
});
