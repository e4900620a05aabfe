"""Jobs in the page: from the form to the end, in a real browser at a real service."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Request, Route, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]

LONG: dict[str, Any] = {"dataset": "wine", "target": "quality", "epochs": 20_000, "validation": {"fraction": 0.2}}


def test_a_job_from_the_form_is_watched_paused_resumed_and_cancelled(page: Page) -> None:
    page.get_by_role("link", name="New job").first.click()
    page.get_by_role("combobox", name="dataset", exact=True).select_option("wine")
    page.get_by_role("combobox", name="target", exact=True).select_option("quality")
    page.get_by_label("epochs", exact=True).fill("20000")
    page.get_by_label("name", exact=True).fill("from the form")
    expect(page.get_by_label("As YAML")).to_have_value(re.compile("epochs: 20000"))
    expect(page.get_by_role("region", name="Plan")).to_contain_text("parameters")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("heading", name="from the form").wait_for()
    curve = page.get_by_role("slider", name="Loss by step")
    expect(curve).to_have_attribute("aria-valuemax", re.compile(r"[1-9]"), timeout=30_000)
    expect(curve).not_to_have_attribute("aria-valuemax", curve.get_attribute("aria-valuemax") or "")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click(timeout=20_000)
    page.get_by_role("button", name="Pause").click(trial=True, timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel for good").click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible(timeout=20_000)
    page.get_by_role("link", name="History").click()
    words = page.get_by_role("main")
    for move in ("Submitted.", "paused by request", "cancelled by request"):
        expect(words).to_contain_text(move)
    lanes = page.get_by_role("img", name=re.compile(r"Worker 0 computed from .*, then paused; computed from "))
    expect(lanes).to_be_visible()


def test_a_mistake_stands_at_its_field_before_anything_is_submitted(page: Page) -> None:
    page.goto("/#/new")
    page.get_by_label("batch size", exact=True).fill("-3")
    expect(page.get_by_text("expected an integer from 1 to 1,000,000")).to_be_visible()
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_label("As YAML").fill("dataset: wine\ntarget: quality\nbatch_size: 64\n")
    expect(page.get_by_label("batch size", exact=True)).to_have_value("64")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()


def test_several_targets_and_any_of_many_columns_are_chosen_in_the_form(
    page: Page, service: RunningService, tmp_path: Path
) -> None:
    file = tmp_path / "wide.csv"
    rows = [",".join(str((row * 7 + column) % 11) for column in range(99)) for row in range(30)]
    file.write_text("\n".join([",".join(f"c{column}" for column in range(99)), *rows]))
    service.upload("wide", file)
    page.goto("/#/new?dataset=wide")
    yaml = page.get_by_label("As YAML")
    page.get_by_role("button", name="Several").click()
    targets, features = (page.get_by_role("list", name=name, exact=True) for name in ("target", "features"))
    page.get_by_label("Search columns for target").fill("c9")
    targets.get_by_role("button", name="c97", exact=True).click()
    expect(yaml).to_have_value(re.compile("target:\n  - c98\n  - c97\n"))
    expect(page.get_by_text("60 of 97 columns are shown, 97 are chosen.")).to_be_visible()
    page.get_by_label("Search columns for features").fill("C96")
    features.get_by_role("button", name="c96", exact=True).click()
    expect(page.get_by_text("1 of 97 columns are shown, 96 are chosen.")).to_be_visible()
    targets.get_by_role("button", name="Only one").click()
    expect(yaml).to_have_value(re.compile("target: c98$", re.MULTILINE))


def test_a_mistake_within_a_field_is_told_at_it(page: Page) -> None:
    page.goto("/#/new")
    yaml, main = page.get_by_label("As YAML"), page.get_by_role("main")
    data = "dataset: wine\ntarget: quality\n"
    yaml.fill(f"{data}labels: {{x: 3}}\nl1: -1\ninitial_parameters: {{weights: 3, biases: [[0]]}}\n")
    for told in ("labels.x: got 3, expected text", "initial_parameters.weights: got 3, expected a list"):
        expect(main).to_contain_text(told)
    box = page.get_by_label("l1", exact=True)
    expect(box).to_be_visible()  # as the part that was folded up is open
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_have_accessible_description(re.compile("^expected a number from 0 .*Adds l1"))
    status = page.get_by_role("region", name="Plan").get_by_role("status")
    expect(status).to_have_text("3 fields are wrong: labels.x, l1, initial_parameters.weights")
    yaml.fill(f"{data}features: [alcohol, proof]\n")
    expect(main).to_contain_text('features[1]: got "proof", expected a column')
    expect(status).to_have_text("1 field is wrong: features[1]")


def test_what_is_typed_is_what_is_sent(page: Page) -> None:
    page.goto("/#/new")
    units = page.get_by_role("textbox", name="units", exact=True)
    units.press("Control+a")
    units.press("Backspace")
    expect(units).to_have_value("")
    units.press_sequentially("128")
    expect(page.get_by_label("As YAML")).to_have_value(re.compile("units: 128$", re.MULTILINE))
    rate = page.get_by_label("learning rate", exact=True)
    rate.press_sequentially("1e-05")
    expect(rate).to_have_value("1e-05")
    expect(page.get_by_label("As YAML")).to_have_value(re.compile("learning_rate: 0.00001$", re.MULTILINE))
    units.press("Control+a")
    units.press("Backspace")
    rate.focus()
    expect(units).to_have_value("")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()


def test_a_layers_button_to_remove_it_is_on_its_card(page: Page) -> None:
    page.goto("/#/new")
    button = page.get_by_role("button", name="Remove layer 1")
    corners = """button => [button, button.closest("li")].map((each) => each.getBoundingClientRect()).map(
        (box) => [box.right, box.top])"""
    (right, top), (card_right, card_top) = button.evaluate(corners)
    assert 0 < card_right - right < 20
    assert 0 < top - card_top < 20


def test_new_job_begins_anew_where_a_clone_was_begun(page: Page, trained: str) -> None:
    page.goto(f"/#/new?from={trained}")
    expect(page.get_by_label("epochs", exact=True)).to_have_value("5")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="New job").click()
    expect(page.get_by_label("epochs", exact=True)).to_have_value("20")


def test_copying_the_form_as_curl_submits_nothing(page: Page, service: RunningService) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/#/new?dataset=wine")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    page.get_by_label("name", exact=True).fill("only copied")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_attached()
    assert '"name": "only copied"' in page.evaluate("navigator.clipboard.readText()")
    expect(page).to_have_url(re.compile("#/new"))
    assert service.http.get("/v1/jobs", params={"name": "only copied"}).json()["items"] == []


def test_what_the_browser_does_not_copy_is_shown_selected(page: Page, trained: str) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(f"/#/jobs/{trained}")
    page.reload()
    page.get_by_role("button", name="Copy as curl").click()
    shown = page.get_by_role("dialog").get_by_role("textbox")
    expect(shown).to_have_value(re.compile("^curl -X POST"))
    assert shown.evaluate("box => box.selectionEnd - box.selectionStart") > 100
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Copy as curl")).to_be_focused()


def test_a_service_that_does_not_answer_for_a_moment_is_asked_again(page: Page) -> None:
    page.route("**/v1/jobs?dry_run=true", lambda route: route.fulfill(status=409, body="{}"), times=1)
    page.goto("/#/new")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()


def test_without_a_data_set_the_form_says_where_to_bring_one(page: Page) -> None:
    page.route(
        re.compile(r"/v1/datasets\?"), lambda route: route.fulfill(json={"items": [], "next_cursor": None}), times=1
    )
    page.goto("/#/new")
    expect(page.get_by_role("main")).to_contain_text("There is no data set yet")
    expect(page.get_by_role("button", name="Submit")).to_have_count(0)
    page.get_by_role("link", name="Bring one").click()
    page.get_by_role("region", name="Upload a data set").wait_for()


def test_a_submit_that_got_no_answer_is_tried_again_and_is_one_job(page: Page, service: RunningService) -> None:
    def lose_the_answer(route: Route) -> None:
        assert route.fetch().status == 202  # the service has taken it
        route.fulfill(status=409, json={"detail": "lost on the way"})

    page.goto("/#/new?dataset=wine")
    page.get_by_label("name", exact=True).fill("sent twice")
    page.get_by_label("epochs", exact=True).fill("1")
    expect(page.get_by_label("As YAML")).to_have_value(re.compile("epochs: 1$", re.MULTILINE))
    page.route(re.compile("/v1/jobs$"), lose_the_answer, times=1)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert").filter(has_text="lost on the way")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="sent twice").wait_for()
    assert len(service.http.get("/v1/jobs", params={"name": "sent twice"}).json()["items"]) == 1


def test_why_a_submit_failed_is_told_until_the_spec_is_another_one(page: Page) -> None:
    plans: list[Route] = []

    def hold(route: Route) -> None:
        plans.append(route)

    page.goto("/#/new?dataset=wine")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    plan, alert = page.get_by_role("region", name="Plan"), page.get_by_role("alert").filter(has_text="too many")
    page.route("**/v1/jobs?dry_run=true", hold, times=1)
    page.route(re.compile("/v1/jobs$"), lambda route: route.fulfill(status=409, json={"detail": "too many"}), times=1)
    epochs = page.get_by_label("epochs", exact=True)
    with page.expect_request("**/v1/jobs?dry_run=true"):
        epochs.fill("7")
        epochs.press("Enter")
        expect(alert).to_be_visible()
    before = plan.get_by_role("definition").all_inner_texts()
    plans[0].continue_()
    expect(plan.get_by_role("definition").nth(1)).not_to_have_text(before[1])
    expect(alert).to_be_visible()
    epochs.fill("8")
    expect(alert).to_have_count(0)


def refuse_once(page: Page, address: str | re.Pattern[str]) -> None:
    page.route(address, lambda route: route.fulfill(status=409, json={"detail": "not now"}), times=1)


@pytest.mark.parametrize(
    ("view", "address", "there"),
    [
        ("new", re.compile(r"/v1/datasets\?"), "As YAML"),
        ("jobs/{}/network", re.compile(r"/v1/jobs\?dry_run=true"), "early_stopping"),
    ],
)
def test_what_did_not_come_at_first_is_asked_for_again(
    page: Page, trained: str, view: str, address: re.Pattern[str], there: str
) -> None:
    refuse_once(page, address)
    page.goto(f"/#/{view.format(trained)}")
    alert = page.get_by_role("alert").filter(has_text="not now")
    expect(alert).to_be_visible()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)
    alert.get_by_role("button", name="Try again").click()
    expect(page.get_by_text(there, exact=True).first).to_be_visible()


def test_jobs_of_the_same_bits_that_did_not_come_are_asked_for_again(page: Page, trained: str) -> None:
    refuse_once(page, re.compile("parameters_sha256="))
    page.goto(f"/#/jobs/{trained}")
    expect(page.get_by_text("not now")).to_be_visible()
    with page.expect_response(re.compile("parameters_sha256=")) as answer:
        page.get_by_role("button", name="Try again").click()
    assert answer.value.ok
    expect(page.get_by_text("not now")).to_have_count(0)


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


def test_a_job_on_an_older_version_of_a_data_set_is_on_that_very_one(
    page: Page, service: RunningService, tmp_path: Path
) -> None:
    file = tmp_path / "versions.csv"
    file.write_text("a,b\n1,2\n2,3\n3,4\n")
    old = service.upload("versions", file)
    file.write_text("a,b\n1,2\n2,3\n3,4\n4,5\n")
    new = service.upload("versions", file)
    for dataset, named in ((old, old["id"]), (new, "versions")):
        page.goto(f"/#/new?dataset={dataset['id']}")
        page.reload()
        expect(page.get_by_label("As YAML")).to_have_value(re.compile(f"^dataset: {named}$", re.MULTILINE))


def test_a_spec_is_grey_but_for_what_somebody_chose(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/network")
    lines = page.get_by_role("row").filter(has_not_text="(as by default)")
    chosen = lines.get_by_role("rowheader").locator("code")
    expect(chosen).to_have_text(["name", "dataset", "target", "layers", "epochs", "validation.fraction"])


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


def test_a_network_is_drawn_with_the_width_and_the_parameters_of_each_layer(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/network")
    drawing = page.get_by_role("img", name=re.compile("^Network: "))
    drawing.wait_for()
    told = drawing.locator("text").all_text_contents()
    assert [text for text in told if text.isdigit()] == ["11", "8", "1"]
    assert [text for text in told if "parameters" in text] == [f"{11 * 8 + 8} parameters", f"{8 + 1} parameters"]


COLLECTS_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const shift of list.getEntries()) {
            const moved = shift.sources.map(({ node, previousRect, currentRect }) => {
                const what = (node?.outerHTML ?? node?.textContent ?? "").slice(0, 90);
                return `${previousRect.top} → ${currentRect.top}: ${what}`;
            });
            if (!shift.hadRecentInput) shifts.push([shift.value, moved]);
        }
    }).observe({ type: "layout-shift", buffered: true });
"""


def test_nothing_jumps_while_a_job_begins_to_train_which_it_and_the_list_tell_the_end_of(
    page: Page, service: RunningService, trained: str
) -> None:
    spec = {"dataset": "wine", "target": "quality", "layers": [{"type": "dense", "units": 64}], "epochs": 20_000}
    page.add_init_script(COLLECTS_SHIFTS)
    page.reload()
    job = service.submit(**spec, name="in sight", validation={"fraction": 0.2})
    page.get_by_role("link", name="in sight").click()
    in_time = re.compile(r"\d (s|min|h) left")
    expect(page.get_by_role("main")).to_contain_text(in_time, timeout=30_000)
    expect(page.get_by_role("slider", name="Validation R²")).to_be_visible()
    bar = page.get_by_role("progressbar")
    expect(bar).not_to_have_attribute("aria-valuenow", str(bar.get_attribute("aria-valuenow")), timeout=30_000)
    page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("row").filter(has_text="in sight")).to_contain_text(in_time)
    shifts = page.evaluate("shifts")
    assert sum(value for value, _ in shifts) < 0.05, shifts  # 0.1 is what the web calls good
    service.act(job["id"], "cancel")


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
    return [
        {**job, "id": f"job_{number:026d}", "name": f"job {number}", "state": state} for number in reversed(numbers)
    ]


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
    return lambda request: request.url.partition("?")[0].endswith(path)


def test_a_hidden_page_has_no_stream_open_and_one_in_sight_again_goes_on(page: Page, service: RunningService) -> None:
    job = service.submit(**LONG, name="behind")
    page.goto(f"/#/jobs/{job['id']}/logs")
    log = page.get_by_role("log")
    submitted = log.get_by_text("queued: Submitted.")
    expect(submitted).to_have_count(1)
    with (
        page.expect_event("requestfailed", is_of("/events")),
        page.expect_event("requestfailed", is_of("/logs/stream")),
    ):
        hide(page, True)
    with page.expect_request(is_of("/events")), page.expect_request(is_of("/logs/stream")):
        hide(page, False)
    service.act(job["id"], "cancel")
    expect(log).to_contain_text("cancelled by request", timeout=20_000)
    expect(submitted).to_have_count(1)


def test_more_windows_in_sight_than_connections_are_all_live(page: Page, service: RunningService) -> None:
    job = service.submit(**LONG, name="watched by many")
    windows = [page, *(page.context.new_page() for _ in range(5))]
    for window in windows:
        window.goto(f"/#/jobs/{job['id']}/history")
    for window in windows:
        expect(window.get_by_role("main")).to_contain_text("Submitted.", timeout=20_000)
    windows[-1].get_by_role("button", name="Cancel").click()
    windows[-1].get_by_role("button", name="Cancel for good").click()
    for window in windows:
        expect(window.get_by_role("main")).to_contain_text("cancelled by request", timeout=60_000)


def test_checkpoints_are_listed_as_they_are_written(page: Page, service: RunningService) -> None:
    job = service.submit(**LONG, name="kept", checkpoint={"every_s": 0.5})
    page.goto(f"/#/jobs/{job['id']}/history")
    listed = page.get_by_role("region", name="Checkpoints").get_by_role("listitem")
    expect(listed.first).to_have_text(re.compile(r"^before step [\d,]+ [0-9a-f]{16}…$"), timeout=30_000)
    service.act(job["id"], "cancel")


def test_a_history_that_is_not_there_yet_says_nothing_of_who_computed(page: Page, trained: str) -> None:
    page.route(re.compile("/events"), lambda route: route.fulfill(content_type="text/event-stream", body=""))
    page.goto(f"/#/jobs/{trained}/history")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    expect(page.get_by_role("main")).not_to_contain_text(re.compile("Nobody|in all"))


def test_a_quality_that_did_not_come_can_be_asked_for_again(page: Page, trained: str) -> None:
    refused = {"detail": "four are under way"}
    page.route(re.compile("/evaluation"), lambda route: route.fulfill(status=409, json=refused), times=1)
    page.goto(f"/#/jobs/{trained}/quality")
    expect(page.get_by_role("alert")).to_contain_text("four are under way")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("main")).to_contain_text("residuals")


def test_a_model_of_many_classes_tells_its_accuracy_and_why_nothing_is_drawn(
    page: Page, service: RunningService, classified: str
) -> None:
    told = {"task": "classification", "rows": 180, "of_rows": 180, "classes": [f"c{number}" for number in range(60)]}
    page.route("**/evaluation", lambda route: route.fulfill(json=told))
    page.goto(f"/#/jobs/{classified}/quality")
    accuracy = service.job(classified)["metrics"]["validation_accuracy"]
    expect(page.get_by_role("heading", name="Too many classes to draw")).to_be_visible()
    expect(page.get_by_text("60 classes")).to_contain_text(f"{100 * accuracy:.2f} %")


def test_curves_that_are_left_out_are_told_with_the_reason(page: Page, classified: str) -> None:
    told = {"task": "classification", "rows": 9, "of_rows": 9, "classes": ["no", "yes"], "confusion": [[9, 0], [0, 0]]}
    page.route("**/evaluation", lambda route: route.fulfill(json=told))
    page.goto(f"/#/jobs/{classified}/quality")
    expect(
        page.get_by_text("No curves of yes: they need validation rows of a class, and rows of others.")
    ).to_be_visible()


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


def test_a_job_copied_as_curl_is_submitted_again_by_a_shell_and_the_key_is_not_in_it(
    page: Page, service: RunningService
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl is installed: apt-get install curl")
    name = 'it\'s "quoted" $HOME `id` \\ and so on'
    job = service.trained(dataset="wine", target="quality", epochs=1, name=name, labels={"of": "O'Hara"})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/#/jobs/{job['id']}")
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_text("Copied", exact=True).first.wait_for(state="attached")
    command = page.evaluate("navigator.clipboard.readText()")
    assert service.key not in command
    environment = {"PATH": os.environ["PATH"], "CHAINRULE_API_KEY": service.key}
    answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=True, timeout=30)
    again = service.until(json.loads(answer.stdout)["id"], "succeeded")
    assert again["id"] != job["id"]
    spec = {**job["spec"], "dataset": job["dataset_id"]}  # of a name, the newest version might be another one by then
    assert (again["spec"], again["parameters_sha256"]) == (spec, job["parameters_sha256"])


def test_a_clone_is_changed_in_the_form_and_ends_with_the_same_bits(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    page.get_by_role("link", name="Clone").click()
    expect(page.get_by_label("epochs", exact=True)).to_have_value("5")
    page.get_by_label("name", exact=True).fill("a clone")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("heading", name="a clone").wait_for()
    expect(page.get_by_role("main")).to_contain_text(re.compile("The same bits as.* a wine"), timeout=30_000)


def test_everything_to_submit_a_job_can_be_reached_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the content")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(page.get_by_role("navigation").get_by_role("link", name="New job")).to_be_focused()
    page.keyboard.press("Enter")
    submit = page.get_by_role("button", name="Submit")
    expect(submit).to_be_enabled()
    for _ in range(150):
        if submit.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#/jobs/job_"))


def test_a_chart_is_read_and_zoomed_by_keyboard(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    chart = page.get_by_role("slider", name="Loss by step")
    expect(chart).to_have_attribute("aria-valuemax", re.compile(r"[1-9]"))
    last = chart.get_attribute("aria-valuetext")
    chart.focus()
    page.keyboard.press("Home")
    expect(chart).not_to_have_attribute("aria-valuetext", last or "")
    page.keyboard.press("+")
    reset = page.get_by_role("button", name="Show all of Loss")
    expect(reset).to_be_visible()
    page.keyboard.press("0")
    expect(reset).to_have_count(0)


def test_a_log_is_filtered_searched_and_saved(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/logs")
    log = page.get_by_role("log")
    for line in ("queued: Submitted.", "epoch 5 of 5: training loss", "succeeded: trained to its end"):
        expect(log).to_contain_text(line)
    page.get_by_label("Search the log").fill("EPOCH 3 OF")
    expect(log.get_by_role("paragraph")).to_have_count(1)
    expect(log.locator("mark")).to_have_text("epoch 3 of")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == f"{trained}.log"
    assert "INFO attempt 1 coordinator: epoch 3 of 5" in download.value.path().read_text(encoding="utf-8")
    page.get_by_label("Search the log").fill("")
    page.get_by_role("button", name="Errors").click()
    expect(log).to_have_text("No line is like that.")


# What Chromium's anchoring does when lines that come into sight are higher than was guessed.
STOPPED_AND_MOVED_BY_HEIGHTS = """async box => {
    box.dispatchEvent(new WheelEvent("wheel", { deltaY: -1 }));
    const end = box.scrollHeight - box.clientHeight;
    for (const above of [20, 10]) {
        const scrolled = new Promise((resolve) => box.addEventListener("scroll", resolve, { once: true }));
        box.scrollTo({ top: end - above, behavior: "instant" });
        await scrolled;
    }
}"""


def test_a_log_of_thousands_of_lines_is_followed_until_somebody_scrolls_up(
    page: Page, service: RunningService, trained: str
) -> None:
    def line(seq: int) -> str:
        told = {"seq": seq, "at": "2026-11-27T10:00:00.000000Z", "level": "info", "source": "coordinator"}
        data = json.dumps({**told, "message": f"line {seq} {'of many words ' * (seq % 9)}", "attempt": 1})
        return f"id: {seq}\nevent: log\ndata: {data}\n\n"

    body = "".join(map(line, range(1, 2001)))
    page.route("**/logs/stream?*", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    running = {**service.job(trained), "state": "running"}
    page.route(f"**/v1/jobs/{trained}", lambda route: route.fulfill(json=running))
    page.goto(f"/#/jobs/{trained}/logs")
    page.get_by_text("2,000 lines").wait_for()
    page.get_by_role("log").scroll_into_view_if_needed()
    expect(page.get_by_text("line 2000 ")).to_be_in_viewport()
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.get_by_role("log").evaluate(STOPPED_AND_MOVED_BY_HEIGHTS)
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.get_by_role("log").focus()
    page.keyboard.press("PageUp")
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.get_by_role("log").evaluate("box => box.scrollTop = 0")
    expect(page.get_by_text("line 1 ", exact=False).first).to_be_in_viewport()
    follow.click()
    expect(page.get_by_text("line 2000 ")).to_be_in_viewport(timeout=15_000)


def test_a_log_that_has_ended_is_read_from_its_beginning_and_takes_no_more_room_than_it_needs(
    page: Page, trained: str
) -> None:
    page.goto(f"/#/jobs/{trained}/logs")
    lines = page.get_by_role("log")
    lines.get_by_text("succeeded:").wait_for()
    expect(page.get_by_role("button", name="Follow")).to_have_count(0)
    assert lines.evaluate("box => box.scrollTop") == 0
    assert lines.evaluate("box => box.clientHeight - box.firstElementChild.clientHeight") <= 20, "nothing but padding"


def test_two_charts_of_a_job_are_in_sight_at_once(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    for title in ("Loss", "validation RMSE"):
        expect(page.get_by_role("slider", name=f"{title} by step")).to_be_in_viewport(ratio=1)


def test_an_address_of_nothing_says_so(page: Page) -> None:
    page.goto("/#/jobs/job_00000000000000000000000000")
    page.get_by_text("There is no such job").wait_for()
    page.goto("/#/nothing")
    page.get_by_text("There is nothing at this address").wait_for()


def test_the_title_of_the_window_is_of_what_one_looks_at(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    expect(page).to_have_title("a wine · succeeded · Chainrule")
    page.get_by_role("link", name="Quality").click()
    expect(page).to_have_title("a wine · succeeded · Chainrule")
    page.goto("/#/jobs/job_gone")
    expect(page).to_have_title("job_gone · Jobs · Chainrule")
