"""One service and one browser for all tests of the page; they skip with a word where there is no browser or no page."""

import random
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from service.web_page import BUILT
from support.browser import FLAGS, Watched, signed_in
from support.running_service import DATA, RunningService


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """With wines, and a job on them that has succeeded."""
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built: make page")
    running = RunningService(tmp_path_factory.mktemp("service"), cpus=2).start()
    try:
        running.until_ready()
        running.upload("wine", DATA / "wine-quality-white.csv")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="package")
def kept() -> set[str]:
    """The ids of jobs that many tests look at; those of others are removed after each test."""
    return set()


@pytest.fixture(scope="package")
def trained(service: RunningService, kept: set[str]) -> str:
    """The id of a job that has succeeded."""
    spec = {"dataset": "wine", "target": "quality", "layers": [{"type": "dense", "units": 8}], "epochs": 5}
    return _kept(service.trained(**spec, name="a wine", validation={"fraction": 0.2}), kept)


@pytest.fixture(scope="package")
def classified(service: RunningService, kept: set[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a job that has learned to tell two classes apart, mostly."""
    drawn = random.Random(7)
    rows = [(drawn.gauss(0, 1), drawn.gauss(0, 1)) for _ in range(600)]
    file = tmp_path_factory.mktemp("classes") / "classes.csv"
    lines = [f"{a:.4f},{b:.4f},{'yes' if a + b + drawn.gauss(0, 1) > 0.8 else 'no'}" for a, b in rows]
    file.write_text("\n".join(["a,b,label", *lines]))
    service.upload("classes", file)
    spec = {"dataset": "classes", "target": "label", "layers": [{"type": "dense", "units": 4}], "epochs": 5}
    return _kept(service.trained(**spec, name="yes or no", validation={"fraction": 0.3}), kept)


@pytest.fixture(scope="package")
def digits(service: RunningService, kept: set[str]) -> str:
    """The id of a job that has learned to tell ten drawn digits apart, mostly."""
    service.upload("digits", DATA / "digits-train.npz")
    spec = {
        "dataset": "digits",
        "target": "digit",
        "task": "classification",
        "layers": [{"type": "dense", "units": 32}],
    }
    return _kept(service.trained(**spec, name="digits", epochs=2, validation={"fraction": 0.1}), kept)


def _kept(job: dict[str, Any], kept: set[str]) -> str:
    kept.add(job["id"])
    return str(job["id"])


@pytest.fixture
def page(browser: Browser, service: RunningService, kept: set[str]) -> Iterator[Page]:
    """At the list of jobs. What the browser complains of, or asks of anybody else, fails the test. Jobs that a test has
    left are removed, so that the next one has the CPUs, and a list that fits into the window."""
    context = signed_in(browser, service, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    watched = Watched(page, str(service.http.base_url))
    page.goto("/")
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    yield page
    context.close()
    for job in service.http.get("/v1/jobs?limit=500").json()["items"]:
        if job["id"] not in kept:
            service.http.post(f"/v1/jobs/{job['id']}/cancel")
            service.http.delete(f"/v1/jobs/{job['id']}")  # one that has yet to end is removed after the next test
    assert watched.complaints == []
