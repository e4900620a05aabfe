"""Jobs beside each other, in a real browser at a real service."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from support.browser import copies, listed, refuse_once
from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]

LONG: dict[str, Any] = {"dataset": "wine", "target": "quality", "epochs": 20_000, "validation": {"fraction": 0.2}}


def test_jobs_to_compare_that_did_not_come_are_asked_for_again(page: Page, trained: str) -> None:
    expect(page.get_by_role("link", name="a wine", exact=True)).to_be_visible()  # the list of jobs asks for the same
    refuse_once(page, re.compile(r"/v1/jobs\?limit=200$"))
    page.goto(f"/#/compare?jobs={trained}")
    expect(page.get_by_role("slider")).to_be_visible()
    with page.expect_response(re.compile("/v1/jobs")):  # an answer to another request is no reason to forget it
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.evaluate("fetch('/v1/jobs?limit=1')")
    page.get_by_role("alert").filter(has_text="not now").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_label("A job to add", exact=True).get_by_role("option")).not_to_have_count(0)


def test_jobs_on_two_versions_of_a_data_set_differ_in_it(page: Page, service: RunningService, tmp_path: Path) -> None:
    file, spec = tmp_path / "grows.csv", {"dataset": "grows", "target": "b", "epochs": 1}
    jobs, digests = [], []
    for rows in ("1,2\n2,3\n3,4\n", "1,2\n2,3\n3,4\n4,5\n"):
        file.write_text(f"a,b\n{rows}")
        digests.append(service.upload("grows", file)["sha256"])
        jobs.append(service.submit(**spec)["id"])
    page.goto(f"/#/compare?jobs={','.join(jobs)}")
    for title, values in (
        ("data set", ["grows, version 1", "grows, version 2"]),
        ("SHA-256 of the data", [digest[:12] for digest in digests]),
    ):
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=title, exact=True))
        expect(row.get_by_role("cell")).to_have_text(values)
    expect(page.get_by_text("Their specs are the same")).to_have_count(0)


def test_a_job_to_compare_is_found_by_its_name_however_old_it_is(page: Page, service: RunningService) -> None:
    job = service.submit(dataset="wine", target="quality", epochs=1, name="long ago")

    def answer_newest(route: Route) -> None:
        route.fulfill(json={"items": [], "next_cursor": "older"})

    page.route(re.compile(r"/v1/jobs\?limit=\d+$"), answer_newest)
    page.goto("/#/compare")
    choice = page.get_by_label("A job to add", exact=True)
    expect(choice).to_contain_text("older ones")
    page.get_by_label("Search jobs to add by name").fill("LONG a")
    expect(choice).to_contain_text("long ago")
    choice.select_option(job["id"])
    link = page.get_by_role("link", name="long ago")
    expect(link, "as arrow keys pick one after the other").to_have_count(0)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(link).to_be_visible()
    expect(choice).to_be_focused()


def test_as_many_jobs_are_ticked_as_can_be_compared(page: Page, service: RunningService, trained: str) -> None:
    jobs = copies(service.job(trained), range(1, 10))
    for job in jobs:
        job["started_at"], job["finished_at"] = "2026-01-01T00:00:00Z", "2026-01-01T00:01:10Z"
    listed(page, jobs)
    page.reload()
    page.get_by_label("Compare job 1", exact=True).check()
    expect(page.get_by_text("Tick another to compare")).to_be_visible()
    for number in range(2, 8):
        page.get_by_label(f"Compare job {number}", exact=True).check()
    expect(page.get_by_text("7 at most")).to_be_visible()
    expect(page.get_by_role("link", name="Compare 7")).to_be_visible()
    expect(page.get_by_label("Compare job 8", exact=True)).to_be_disabled()
    pace = page.get_by_text("took 1 min 10 s").first
    assert pace.evaluate("cell => cell.scrollWidth <= cell.clientWidth"), "it fits into its cell"


def test_jobs_are_compared_curve_by_curve_and_field_by_field(page: Page, service: RunningService, trained: str) -> None:
    spec = {"dataset": "wine", "target": "quality", "layers": [{"type": "dense", "units": 16}], "epochs": 5}
    service.trained(**spec, name="another wine", validation={"fraction": 0.2})
    for name in ("a wine", "another wine"):
        page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.get_by_role("slider", name="validation loss by epoch")).to_have_attribute(
        "aria-valuetext", re.compile(r"another wine [\d.]+, a wine [\d.]+|a wine [\d.]+, another wine [\d.]+")
    )
    line = page.get_by_role("row").filter(has_text="layers[0]")
    expect(line).to_contain_text("dense 16 relu")
    expect(line).to_contain_text("dense 8 relu")
    expect(page.get_by_role("row").filter(has_text="epochs")).to_have_count(0)


def test_compared_jobs_are_live_and_one_that_is_gone_is_left_out(
    page: Page, service: RunningService, trained: str
) -> None:
    jobs, nothing = copies(service.job(trained), range(1, 2), "running"), "job_00000000000000000000000000"
    listed(page, jobs)
    metrics: list[dict[str, Any]] = []

    def answer_one_more(route: Route) -> None:
        step = len(metrics) + 1
        metrics.append({"step": step, "epoch": step, "elapsed_s": step, "validation_loss": 1 / step})
        route.fulfill(json={"items": metrics, "next_cursor": None})

    page.route(re.compile(r"/metrics\?"), answer_one_more)
    page.goto(f"/#/compare?jobs={jobs[0]['id']},{nothing}")
    curve = page.get_by_role("slider", name="validation loss by epoch")
    expect(curve).to_have_attribute("aria-valuetext", re.compile(r"job 1 [\d.]+"))
    expect(curve).not_to_have_attribute("aria-valuetext", curve.get_attribute("aria-valuetext") or "", timeout=10_000)
    page.get_by_role("button", name=f"Leave out {nothing}").click()
    expect(page.get_by_text("gone", exact=True)).to_have_count(0)
    expect(page).not_to_have_url(re.compile(nothing))


def test_a_metric_that_not_every_step_has_stays_compared(page: Page, service: RunningService, trained: str) -> None:
    job = copies(service.job(trained), range(1, 2), "running")[0]
    listed(page, [job])
    without = {"epoch": 1, "elapsed_s": 1, "train_loss": 0.5}
    items = [{"step": 1, **without, "validation_loss": 0.7}, {"step": 2, **without}]
    page.route(re.compile(r"/metrics\?"), lambda route: route.fulfill(json={"items": items, "next_cursor": None}))
    page.goto(f"/#/compare?jobs={job['id']}")
    expect(page.get_by_role("slider", name=re.compile("^(validation|training) loss by epoch"))).to_be_visible()
    expect(page.get_by_label("Metric")).to_have_value("validation_loss")


def test_as_many_jobs_as_are_ticked_are_compared(page: Page, service: RunningService, trained: str) -> None:
    listed(page, copies(service.job(trained), range(1, 10)))
    page.reload()
    for number in range(1, 8):
        page.get_by_role("checkbox", name=f"Compare job {number}", exact=True).check()
    link = page.get_by_role("link", name=re.compile(r"^Compare \d+$"))
    ticked = int(link.inner_text().split()[-1])
    link.click()
    expect(page.get_by_role("button", name=re.compile("^Leave out job"))).to_have_count(ticked)
