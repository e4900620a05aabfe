import { beforeEach, expect, test, vi } from "vitest";

import { decoded } from "./address";

beforeEach(() => {
  vi.resetModules();
  vi.stubGlobal("addEventListener", () => undefined);
  vi.stubGlobal("location", { hash: "" });
});

test("what was encoded is decoded, and what was not stands for itself", () => {
  expect(["a%20b", "%", "%zz", "50%"].map(decoded)).toEqual(["a b", "%", "%zz", "50%"]);
});

test("a place whose address holds a lone % is one all the same", async () => {
  location.hash = "#/jobs/%/a%20b?x=%";
  const { place } = await import("./router.svelte");
  expect([place.now.path, place.now.query.get("x")]).toEqual([["jobs", "%", "a b"], "%"]);
});
