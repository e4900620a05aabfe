import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { noticeScrolling, onceAtRest } from "./resting";

const page = new EventTarget();
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  stop = noticeScrolling();
});
afterEach(() => stop());

function scrollFor(ms: number): void {
  for (let passed = 0; passed < ms; passed += 40) {
    page.dispatchEvent(new Event("scroll"));
    vi.advanceTimersByTime(40);
  }
}

test("what comes into sight is asked for a moment later", () => {
  const act = vi.fn();
  onceAtRest(act);
  vi.advanceTimersByTime(79);
  expect(act).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect(act).toHaveBeenCalledOnce();
});

test("while somebody scrolls nothing is asked for, however long that takes, and then all that is in sight", () => {
  const [stays, leaves] = [vi.fn(), vi.fn()];
  onceAtRest(stays);
  const left = onceAtRest(leaves);
  scrollFor(400);
  left();
  expect(stays).not.toHaveBeenCalled();
  vi.advanceTimersByTime(80);
  expect([stays.mock.calls.length, leaves.mock.calls.length]).toEqual([1, 0]);
});
