"""The list of jobs in the page, in a real browser at a real service."""

import re

import pytest
from playwright.sync_api import Page, expect

from support.browser import copies, hide, listed
from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


def test_a_name_with_markup_in_it_stays_text(page: Page, service: RunningService) -> None:
    name = "<img src=x onerror=\"document.title='owned'\">"
    job = service.submit(dataset="wine", target="quality", epochs=1, name=name, labels={"owner": name})
    for address in ("#/jobs", f"#/jobs/{job['id']}", f"#/compare?jobs={job['id']}", "#/cluster"):
        page.goto(f"/{address}")
        if address != "#/cluster":
            page.get_by_text(name).first.wait_for()
        assert page.locator("main img").count() == 0
        assert page.title() != "owned"


def test_the_list_is_searched_filtered_and_sorted(page: Page, trained: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type("A WI")
    expect(page).to_have_url(re.compile("WI"))  # typing has rested, and the address says what is looked for
    page.keyboard.type("NE")
    row = page.get_by_role("row").filter(has_text="a wine")
    expect(row).to_have_count(1)
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    page.get_by_role("button", name="failed").click()
    expect(page.get_by_text("No job is like that")).to_be_visible()
    page.get_by_role("button", name="Show all jobs").click()
    page.get_by_role("columnheader", name="Job").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Job")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("columnheader", name="Job").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Job")).to_have_attribute("aria-sort", "descending")


def test_jobs_are_found_by_who_submitted_them(page: Page, service: RunningService, trained: str) -> None:
    key = service.http.post("/v1/keys", json={"name": "of nights", "scopes": ["submit"]}).json()["key"]
    spec = {"dataset": "wine", "target": "quality", "epochs": 1, "name": "nightly"}
    service.http.post("/v1/jobs", json=spec, headers={"Authorization": f"Bearer {key}"}).raise_for_status()
    page.get_by_role("row").filter(has_text="nightly").get_by_role("link", name="of nights").click()
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    page.get_by_role("button", name="No longer only jobs of of nights").click()
    expect(page.get_by_role("link", name="a wine", exact=True)).to_be_visible()


def test_the_search_box_tells_what_the_list_is_of(page: Page, service: RunningService, trained: str) -> None:
    search = page.get_by_label("Search jobs by name")
    search.fill("a wine")
    expect(page).to_have_url(re.compile("name=a"))
    page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
    expect(search).to_have_value("")
    page.goto("/#/jobs?name=wine")
    expect(search).to_have_value("wine")


def test_a_label_leads_to_all_jobs_that_have_it(page: Page, service: RunningService, trained: str) -> None:
    job = service.submit(dataset="wine", target="quality", epochs=1, name="of the team", labels={"team": "risk & co"})
    page.goto(f"/#/jobs/{job['id']}")
    page.get_by_role("link", name="team = risk & co").click()
    expect(page.get_by_role("row").filter(has_text="wine")).to_have_count(1)
    expect(page.get_by_role("link", name="of the team")).to_be_visible()
    page.get_by_role("button", name="No longer only jobs with the label team=risk & co").click()
    expect(page.get_by_role("row").filter(has_text="a wine")).to_be_visible()


def test_on_a_phone_jobs_are_sorted_and_tell_their_owner(page: Page, service: RunningService, trained: str) -> None:
    jobs = copies(service.job(trained), range(1, 4))
    jobs[1]["owner"] = "of nights"
    listed(page, jobs)
    page.set_viewport_size({"width": 360, "height": 740})
    page.reload()
    expect(page.get_by_role("row").filter(has_text="job 2")).to_contain_text("of nights ·", use_inner_text=True)
    first = page.get_by_role("row").filter(has_text="job").first
    page.get_by_label("Sort by").select_option("Job")
    expect(first).to_contain_text("job 1")
    page.get_by_role("button", name="The other way round").click()
    expect(first).to_contain_text("job 3")


def test_of_thousands_of_jobs_only_those_in_sight_are_drawn(page: Page, service: RunningService, trained: str) -> None:
    listed(page, copies(service.job(trained), range(1, 3_001)))
    page.reload()
    page.get_by_text("3,000 jobs").wait_for()
    assert page.get_by_role("row").count() < 60
    page.keyboard.press("End")
    page.get_by_role("link", name="job 1", exact=True).wait_for()
    assert page.get_by_role("row").count() < 60


def test_whoever_comes_back_finds_the_list_as_it_was_left(page: Page, service: RunningService, trained: str) -> None:
    listed(page, copies(service.job(trained), range(1, 1_001)))
    page.goto("/#/jobs?sort=name")
    page.reload()
    page.get_by_text("1,000 jobs").wait_for()
    page.get_by_role("checkbox", name="Compare job 1", exact=True).check()
    page.evaluate("scrollTo(0, 20_000)")
    in_sight = page.get_by_role("row").nth(12).get_by_role("link").first
    expect(in_sight).to_be_in_viewport()
    name = in_sight.inner_text()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    in_sight.evaluate("link => link.click()")  # where it is: the mouse would scroll
    page.get_by_role("heading", name=name, exact=True).wait_for()
    page.go_back()
    expect(page.get_by_role("link", name=name, exact=True)).to_be_in_viewport()
    assert page.evaluate("scrollY") == 20_000
    expect(page.get_by_role("checkbox", name="Compare job 1", exact=True)).to_have_count(0)  # far above
    page.keyboard.press("Home")
    expect(page.get_by_role("checkbox", name="Compare job 1", exact=True)).to_be_checked()
    assert not [url for url in asked if "limit=200" in url]


def test_a_job_that_moves_leaves_one_filter_and_comes_into_another(
    page: Page, service: RunningService, trained: str
) -> None:
    jobs = copies(service.job(trained), range(1, 4), "running")
    listed(page, jobs)
    page.goto("/#/jobs?state=running")
    page.get_by_text("3 jobs", exact=True).wait_for()
    jobs[0]["state"] = "paused"
    page.get_by_text("2 jobs", exact=True).wait_for()
    page.get_by_role("button", name="running").click()
    page.get_by_role("button", name="succeeded").click()
    page.get_by_text("No job is like that").wait_for()
    jobs[1]["state"] = "succeeded"
    page.get_by_role("link", name="job 2", exact=True).wait_for()


def test_jobs_that_came_while_the_page_was_hidden_are_all_there(
    page: Page, service: RunningService, trained: str
) -> None:
    jobs = copies(service.job(trained), range(1, 11))
    listed(page, jobs)
    page.reload()
    page.get_by_text("10 jobs", exact=True).wait_for()
    hide(page, True)
    jobs[:0] = copies(service.job(trained), range(11, 201))
    hide(page, False)
    page.get_by_text("200 jobs", exact=True).wait_for()


def test_of_a_long_queue_the_older_jobs_that_run_are_live(page: Page, service: RunningService, trained: str) -> None:
    jobs = copies(service.job(trained), range(2, 602), "queued") + copies(service.job(trained), range(1, 2), "running")
    listed(page, jobs)
    page.goto("/#/jobs?sort=state&order=up")
    page.reload()
    page.get_by_text("601 jobs").wait_for()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="job 1", exact=True))
    expect(row).to_contain_text("running")
    jobs[-1] = {**jobs[-1], "progress": {**jobs[-1]["progress"], "fraction": 0.42}}
    expect(row).to_contain_text(re.compile("42.%"), timeout=8_000)
