"""New job: from the form to the end, in a real browser at a real service."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


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
