"""How quick the web page is: its first load, the curves of a job with 100,000 points, and the scrolling of 1,000 jobs.

The real page of a real service in headless Chromium on the same machine, without a GPU. For points and rows, the
service's answers are made up on their way to the browser: what is measured is what the page does with them.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.problem import job, upload
from benchmarks.records import BenchmarkFailed, Figure, Goal, Outcome, Spread
from benchmarks.run import Run
from benchmarks.service import running_service
from chainrule import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

__all__ = ["measure"]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
POINTS, ROWS, FRAMES = 100_000, 1_000, 120
THINNED = 1_000  # points that the page asks for at first
MAX_KB, INTERACTIVE_MS, DRAWN_MS, FRAME_MS = 300.0, 1_000.0, 200.0, 34.0

LOADED_KB = """performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter((entry) => !entry.name.includes("/v1/")).reduce((sum, entry) => sum + entry.transferSize, 0) / 1000"""
AXIS_CHANGED_MS = """([name]) => new Promise((resolve) => {
    const button = [...document.querySelectorAll("button")].find((each) => each.textContent.trim() === name);
    const began = performance.now();
    button.click();
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})"""
OPENED_MS = """([address, last]) => new Promise((resolve) => {
    const began = performance.now();
    location.hash = address;
    const look = () => {
        const chart = document.querySelector("[aria-label='Loss by step']");
        if (Number(chart?.ariaValueMax) >= last) setTimeout(() => resolve(performance.now() - began));
        else requestAnimationFrame(look);
    };
    look();
})"""
SCROLLED_MS = """([frames]) => new Promise((resolve) => {
    const took = [];
    let before = performance.now();
    const turn = (now) => {
        took.push(now - before);
        before = now;
        scrollBy(0, 300);
        took.length > frames ? resolve(took.slice(1)) : requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
})"""


def measure(run: Run) -> Outcome:
    """Kilobytes and milliseconds. Raises BenchmarkFailed where there is no Chromium."""
    from playwright.sync_api import sync_playwright  # for developers: it is not among what a service needs

    chromium = shutil.which("chromium")
    if chromium is None:
        raise BenchmarkFailed("got no Chromium, expected the one of the machine: apt-get install chromium")
    with running_service() as client, sync_playwright() as playwright:
        trained = _trained(client)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        run.say("the first load")
        loads = [_first_load(browser, client) for _ in range(run.rounds)]
        run.say(f"{POINTS:,} points")
        drawn = Spread.of(_drawn_ms(browser, client, trained, run.rounds))
        opened, complete = (
            Spread.of(_opened_ms(browser, client, trained, last, run.rounds)) for last in (THINNED - 1, POINTS - 1)
        )
        run.say(f"{ROWS:,} rows")
        frames = Spread.of(_frames_ms(browser, client, trained), 0.95)
        browser.close()
    kilobytes, interactive = (Spread.of(values) for values in zip(*loads, strict=True))
    figures = [
        Figure("first load", "compressed", "kB", kilobytes),
        Figure("first load", "until jobs are listed", "ms", interactive),
        Figure(f"{POINTS:,} points", "all charts of the job drawn anew", "ms", drawn),
        Figure(f"{POINTS:,} points", "from the list of jobs until the curves are drawn, thinned", "ms", opened),
        Figure(f"{POINTS:,} points", "from the list of jobs until all points are drawn", "ms", complete),
        Figure(f"{ROWS:,} jobs", "a frame while scrolling, p95", "ms", frames),
    ]
    goals = [
        Goal("page: first load, compressed", "kB", MAX_KB, kilobytes, at_most=True),
        Goal("page: interactive on loopback", "ms", INTERACTIVE_MS, interactive, at_most=True),
        Goal(f"page: {POINTS:,} points drawn", "ms", DRAWN_MS, drawn, at_most=True),
        Goal(f"page: a frame while {ROWS:,} jobs scroll, p95", "ms", FRAME_MS, frames, at_most=True),
    ]
    return Outcome(figures, goals)


def _trained(client: Client) -> dict[str, Any]:
    """A small job that has succeeded, as the API tells of it."""
    with tempfile.TemporaryDirectory(prefix="chainrule-bench-") as folder:
        upload(client, Path(folder), 1_000)
    return dict(client.wait(client.submit(job(1_000, 100, 2)).id).json)


def _signed_in(browser: "Browser", client: Client) -> "BrowserContext":
    context = browser.new_context(base_url=client.url)
    context.request.post("/v1/session", headers={"Authorization": f"Bearer {client.key}"})
    return context


def _first_load(browser: "Browser", client: Client) -> tuple[float, float]:
    """Kilobytes on the wire, and milliseconds until the list can be used, with nothing in the browser's cache."""
    context = _signed_in(browser, client)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("row").nth(1).wait_for()
    interactive_ms = page.evaluate("performance.now()")
    kilobytes = page.evaluate(LOADED_KB)
    context.close()
    return float(kilobytes), float(interactive_ms)


def _drawn_ms(browser: "Browser", client: Client, trained: dict[str, Any], rounds: int) -> list[float]:
    """From a click on another axis until every chart of the job is painted with it."""
    page = _signed_in(browser, client).new_page()
    page.route("**/events?*", lambda route: route.fulfill(body=_events(), content_type="text/event-stream"))
    page.goto(f"/#/jobs/{trained['id']}")
    page.locator(f"[aria-label='Loss by step'][aria-valuemax='{POINTS - 1}']").wait_for()
    took = [float(page.evaluate(AXIS_CHANGED_MS, [name])) for _ in range(rounds) for name in ("by time", "by step")]
    page.close()
    return took


def _opened_ms(browser: "Browser", client: Client, trained: dict[str, Any], last: int, rounds: int) -> list[float]:
    """From the list of jobs until the job's loss is drawn as far as the point of that index."""
    page = _signed_in(browser, client).new_page()
    events, thinned = _events(), [_metric(n) for n in range(POINTS // THINNED, POINTS + 1, POINTS // THINNED)]
    page.route("**/events?*", lambda route: route.fulfill(body=events, content_type="text/event-stream"))
    page.route(re.compile(rf"/{trained['id']}/metrics\?"), lambda route: _answer(route, thinned))
    took = []
    for _ in range(rounds):
        page.goto("/")
        page.get_by_role("row").nth(1).wait_for()
        took.append(float(page.evaluate(OPENED_MS, [f"#/jobs/{trained['id']}", last])))
        page.goto("about:blank")
    page.close()
    return took


def _metric(n: int) -> dict[str, float]:
    return {
        "step": n,
        "epoch": n,
        "elapsed_s": n / 10,
        "train_loss": 1 / n,
        "learning_rate": 0.1,
        "samples_per_s": 9.0 * n,
    }


def _events() -> str:
    """A stream of so many metrics, and the end."""
    metrics = (_metric(n) for n in range(1, POINTS + 1))
    lines = [f"id: {item['step']}\nevent: metrics\ndata: {json.dumps(item)}\n\n" for item in metrics]
    end = {"from": "running", "to": "succeeded", "reason": "done", "attempt": 1, "at": "2026-11-24T00:00:00Z"}
    return "".join(lines) + f"id: {POINTS + 1}\nevent: state\ndata: {json.dumps(end)}\n\n"


def _frames_ms(browser: "Browser", client: Client, trained: dict[str, Any]) -> list[float]:
    """Milliseconds between frames while the list is scrolled from its top, 300 pixels a frame."""
    jobs = [{**trained, "id": f"job_{number:026d}"} for number in range(ROWS, 0, -1)]
    page = _signed_in(browser, client).new_page()
    page.route(re.compile(r"/v1/jobs\?limit"), lambda route: _answer(route, jobs))
    page.route(re.compile(r"/metrics\?"), lambda route: _answer(route, []))
    page.goto("/")
    page.get_by_text(f"{ROWS:,} jobs").wait_for()
    took: list[float] = page.evaluate(SCROLLED_MS, [FRAMES])
    page.close()
    return took


def _answer(route: Any, items: list[Any]) -> None:
    route.fulfill(body=json.dumps({"items": items, "next_cursor": None}), content_type="application/json")
