"""What tests do in a browser: watch what it complains of, and look for what keeps people out."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

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
