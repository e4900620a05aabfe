import { beforeEach, expect, test, vi } from "vitest";

const NOW = Date.parse("2026-11-27T10:00:00.700Z");
const MINUTE = 60_000;
let serviceIsAhead = 0; // of the browser, in milliseconds

let get: (path: string) => Promise<unknown>;
let clock: { now: number };

beforeEach(async () => {
  vi.resetModules();
  vi.useFakeTimers({ now: NOW });
  vi.stubGlobal("fetch", async () => Response.json({}, { headers: { Date: new Date(Date.now() + serviceIsAhead).toUTCString() } }));
  ({ get } = await import("./api"));
  ({ clock } = await import("./live.svelte"));
});

test("the clock shows the service's time, whatever the browser's is", async () => {
  for (const ahead of [2 * MINUTE, -60 * MINUTE, 0]) {
    serviceIsAhead = ahead;
    await get("/v1/jobs");
    expect(Math.abs(clock.now - (Date.now() + ahead))).toBeLessThan(2000);
  }
});

test("a clock that is right is left alone by whole seconds, and by answers that are slow", async () => {
  for (const late of [0, 400, 4000]) {
    vi.setSystemTime(NOW + 10_000 + late);
    vi.stubGlobal("fetch", async () => {
      const answer = Response.json({}, { headers: { Date: new Date().toUTCString() } });
      vi.setSystemTime(Date.now() + late);
      return answer;
    });
    await get("/v1/jobs");
    vi.advanceTimersToNextTimer(); // it shows another second
    expect(clock.now - Date.now()).toBe(0);
  }
});

test("an answer without a date says nothing of the time", async () => {
  const before = clock.now;
  vi.stubGlobal("fetch", async () => Response.json({}));
  await get("/v1/jobs");
  expect(clock.now).toBe(before);
});
