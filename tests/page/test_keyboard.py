"""What is done with the keyboard alone: every key is pressed where Tab has led to."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


def tab_to(page: Page, wanted: Locator) -> None:
    """Presses Tab until that has the focus."""
    wanted.wait_for(state="attached")
    for _ in range(150):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {wanted}")


def test_a_job_is_paused_resumed_and_cancelled_by_keyboard(page: Page, service: RunningService) -> None:
    job = service.submit(dataset="wine", target="quality", epochs=20_000, name="by keyboard")
    page.goto(f"/#/jobs/{job['id']}")
    for name, state in (("Pause", "paused"), ("Resume", "running"), ("Cancel", "cancelled")):
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_be_enabled(timeout=30_000)
        tab_to(page, button)
        page.keyboard.press("Enter")
        if name == "Cancel":
            tab_to(page, page.get_by_role("button", name="Cancel for good"))
            page.keyboard.press("Enter")
        service.until(job["id"], state)
        expect(page.get_by_role("status").filter(has_text=re.compile(f"^{state}"))).to_have_count(1)
        if name == "Pause":
            expect(page.get_by_role("button", name="Resume")).to_be_focused()
    expect(page.get_by_role("heading", name="by keyboard")).to_be_focused()  # as the button is gone


def test_jobs_are_ticked_and_compared_by_keyboard(page: Page, service: RunningService, trained: str) -> None:
    service.trained(dataset="wine", target="quality", epochs=1, name="another wine")
    page.goto("/#/jobs")
    for name in ("another wine", "a wine"):
        tab_to(page, page.get_by_role("checkbox", name=f"Compare {name}", exact=True))
        page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Clear"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Jobs")).to_be_focused()  # as the button is gone
    for name in ("another wine", "a wine"):
        page.get_by_role("checkbox", name=f"Compare {name}", exact=True).press("Space")
    tab_to(page, page.get_by_role("link", name="Compare 2"))
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/compare\?jobs="))
    expect(page.get_by_role("main")).to_contain_text("another wine")
    page.get_by_role("button", name="Leave out another wine").press("Enter")
    expect(page.get_by_role("button", name="Leave out a wine")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Compare", exact=True)).to_be_focused()


def test_a_file_is_chosen_and_uploaded_by_keyboard(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "by-keyboard.csv"
    file.write_text("a,b\n" + "1,2\n3,4\n" * 20)
    page.goto("/#/datasets")
    with page.expect_file_chooser() as chooser:  # from before: the browser is told of it beside the keys
        tab_to(page, page.locator("input[type=file]"))
        page.keyboard.press("Enter")
    chooser.value.set_files(file)
    tab_to(page, page.get_by_role("button", name="Upload"))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="by-keyboard").wait_for()


def test_the_focus_goes_with_a_file_that_is_chosen_and_left(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "left.csv"
    file.write_text("a\n1\n")
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_role("button", name="Another file").press("Enter")
    expect(page.locator("input[type=file]")).to_be_focused()


def test_a_dialog_that_is_closed_gives_the_focus_back(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    delete = page.get_by_role("button", name="Delete")
    tab_to(page, delete)
    page.keyboard.press("Enter")
    leave = page.get_by_role("dialog").get_by_role("button", name="Leave it")
    tab_to(page, leave)
    page.keyboard.press("Enter")
    expect(leave).to_have_count(0)
    expect(delete).to_be_focused()


def test_a_part_of_a_job_that_is_opened_keeps_the_focus(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}")
    history = page.get_by_role("link", name="History")
    tab_to(page, history)
    page.keyboard.press("Enter")
    expect(history).to_have_attribute("aria-current", "page")
    expect(history).to_be_focused()
