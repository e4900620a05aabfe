"""One job in the page, in a real browser at a real service."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from support.browser import hide, is_of, refuse_once
from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]

LONG: dict[str, Any] = {"dataset": "wine", "target": "quality", "epochs": 20_000, "validation": {"fraction": 0.2}}

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


def test_a_network_is_drawn_with_the_width_and_the_parameters_of_each_layer(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/network")
    drawing = page.get_by_role("img", name=re.compile("^Network: "))
    drawing.wait_for()
    told = drawing.locator("text").all_text_contents()
    assert [text for text in told if text.isdigit()] == ["11", "8", "1"]
    assert [text for text in told if "parameters" in text] == [f"{11 * 8 + 8} parameters", f"{8 + 1} parameters"]


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
