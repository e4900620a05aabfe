"""What tests do in a browser: watch what it complains of, and look for what keeps people out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Route

from support.running_service import RunningService

AXE = Path(__file__).resolve().parents[2] / "service" / "page" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
MAY_BE_REFUSED = ("status of 404", "status of 409", "status of 422")  # which the browser writes down by itself


def signed_in(browser: Browser, service: RunningService, **options: Any) -> BrowserContext:
    """A browser of somebody who is signed in with the service's admin key."""
    context = browser.new_context(base_url=str(service.http.base_url), **options)
    answer = context.request.post("/v1/session", headers={"Authorization": f"Bearer {service.key}"})
    assert answer.ok, answer.text()
    return context


class Watched:
    """Collects what a page does wrong: errors, breaches of its policy, requests to anybody but its service."""

    def __init__(self, page: Page, service: str) -> None:
        self.complaints: list[str] = []
        self._service = service
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in MAY_BE_REFUSED):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._service, "data:", "blob:")):
            self.complaints.append(f"asked {request.url}")


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds by those rules, or by all of WCAG 2.2 and good practice, with the first element of each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async (rules) => (await axe.run(rules.length ? {runOnly: rules} : {})).violations", list(rules)
    )
    return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html'][:200]}" for each in found]


def refuse_once(page: Page, address: str | re.Pattern[str]) -> None:
    """Has the next request to the address fail."""
    page.route(address, lambda route: route.fulfill(status=409, json={"detail": "not now"}), times=1)


def listed(page: Page, jobs: list[dict[str, Any]]) -> None:
    """Answers as a service would that has these jobs, newest first; they may change meanwhile."""

    def answer_page(route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        found = [job for job in jobs if job["state"] in query.get("state", [job["state"]])]
        start, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
        more = str(start + limit) if start + limit < len(found) else None
        route.fulfill(json={"items": found[start : start + limit], "next_cursor": more})

    def answer_job(route: Route) -> None:
        found = [job for job in jobs if route.request.url.endswith(job["id"])]
        route.fulfill(json=found[0]) if found else route.fulfill(status=404, json={"detail": "there is no such job"})

    page.route(re.compile(r"/v1/jobs\?"), answer_page)
    page.route(re.compile(r"/v1/jobs/job_\d+$"), answer_job)
    page.route(re.compile(r"/metrics\?"), lambda route: route.fulfill(json={"items": [], "next_cursor": None}))


def copies(job: dict[str, Any], numbers: range, state: str = "succeeded") -> list[dict[str, Any]]:
    """Jobs like that one, newest first, as the list tells them."""
    return [
        {**job, "id": f"job_{number:026d}", "name": f"job {number}", "state": state} for number in reversed(numbers)
    ]


def hide(page: Page, is_hidden: bool) -> None:
    """As a browser does with a tab behind another one."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def is_of(path: str) -> Callable[[Request], bool]:
    """Whether a request is to an address that ends so."""
    return lambda request: request.url.partition("?")[0].endswith(path)
