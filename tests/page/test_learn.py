"""The lecture's third example in the page; numbers to compare with are the lecture's, or worked by hand from them."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.page, pytest.mark.ray]

LAST = 22


def step(page: Page) -> Locator:
    return page.get_by_role("region", name="Step", exact=True)


def network(page: Page) -> Locator:
    return page.get_by_role("group", name="Network with its values")


def derivative(page: Page, name: str) -> Locator:
    """The cell of the table with the derivative of the loss by a parameter."""
    row = page.get_by_role("region", name="Weights and biases").get_by_role("row")
    return row.filter(has=page.get_by_role("rowheader", name=name, exact=True)).get_by_role("cell").last


def test_next_and_the_slider_go_through_the_lectures_numbers(page: Page) -> None:
    page.goto("/#/learn")
    expect(step(page)).to_contain_text("u1 = 7")
    page.get_by_role("button", name="Next").click()
    expect(step(page)).to_contain_text("step 2 of 23")
    expect(step(page)).to_contain_text("u2 = −22")
    page.get_by_role("button", name="Step back").click()
    expect(step(page)).to_contain_text("u1 = 7")
    page.get_by_role("slider", name="Step").fill(str(LAST))
    expect(step(page)).to_contain_text("∂L/∂w6 = 212")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_play_goes_on_by_itself_until_it_is_stopped(page: Page) -> None:
    page.clock.install()
    page.goto("/#/learn")
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(3_000)
    expect(step(page)).to_contain_text("step 3 of 23")
    page.get_by_role("button", name="Stop").click()
    page.clock.run_for(10_000)
    expect(step(page)).to_contain_text("step 3 of 23")
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(60_000)
    expect(step(page)).to_contain_text("step 23 of 23")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_a_derivative_is_told_when_the_steps_have_come_to_it(page: Page) -> None:
    page.goto("/#/learn")
    for name in ("w7", "w6", "b4"):
        expect(derivative(page, name)).to_have_text("not yet")
    expect(page.get_by_role("region", name="Change it")).to_contain_text("have not come to its derivative")
    page.get_by_role("slider", name="Step").fill("8")  # the loss, both outputs, and w7
    for name, told in (("w7", "−154"), ("b4", "−22"), ("w6", "not yet"), ("b1", "not yet")):
        expect(derivative(page, name)).to_have_text(told)
    expect(page.get_by_role("region", name="Change it")).to_contain_text("the loss falls by about 0.154")


def test_a_weight_that_is_changed_changes_the_loss(page: Page) -> None:
    page.goto("/#/learn")
    change = page.get_by_role("region", name="Change it")
    expect(change).to_contain_text("loss 260.0")
    page.get_by_label("Value of w7").fill("3")  # o1 = -21 + 7, so that L = ((-14 - 1)² + (-2 - 4)²) / 2
    expect(change).to_contain_text("loss 130.5")
    expect(network(page).get_by_role("button", name="w7 = 3, weight from u1 to o1", exact=True)).to_be_visible()
    page.get_by_role("button", name="Begin again").click()
    expect(change).to_contain_text("loss 260.0")


def test_a_weight_is_what_is_typed_key_by_key(page: Page) -> None:
    page.goto("/#/learn")
    box = page.get_by_label("Value of w7")
    for typed, shown in (("1.05", "1.05"), ("-0.5", "−0.5")):
        box.press("Control+a")
        box.press_sequentially(typed)
        expect(box).to_have_value(typed)
        expect(network(page).get_by_role("button", name=f"w7 = {shown}, weight from u1 to o1")).to_be_visible()
    box.fill("")
    box.blur()
    expect(box).to_have_value("-0.5")


def test_a_step_down_is_taken_by_the_rate_and_makes_the_loss_smaller(page: Page) -> None:
    page.goto("/#/learn")
    page.get_by_label("rate", exact=True).fill("0.0001")
    page.get_by_role("button", name="Take the step").click()
    taken = page.get_by_role("region", name="Change it").get_by_role("status")
    expect(taken).to_have_text(re.compile(r"^1 step: the loss went from 260\.0 to \d+"))
    loss = float(re.findall(r"to (\d+\.\d)", taken.inner_text())[0])
    assert loss < 260
    assert float(page.get_by_label("Value of w7").input_value()) == pytest.approx(2 + 154 * 0.0001)


def test_steps_are_counted_from_where_somebody_last_changed_a_weight(page: Page) -> None:
    page.goto("/#/learn")
    page.get_by_label("rate", exact=True).fill("0.00001")
    take = page.get_by_role("button", name="Take the step")
    take.evaluate("button => { for (let step = 0; step < 201; step++) button.click(); }")
    taken = page.get_by_role("region", name="Change it").get_by_role("status")
    expect(taken).to_have_text(re.compile(r"^201 steps: the loss went from 260\.0 to "))
    page.get_by_label("Value of w7").fill("10")
    expect(taken).to_have_count(0)
    take.click()
    expect(taken).to_have_text(re.compile(r"^1 step: the loss went from [\d,]+ to [\d,]+\.\s*$"))
    page.get_by_label("rate", exact=True).fill("1")
    take.click()
    expect(taken).to_have_text(re.compile(r"^2 steps: .*It grows: the rate is too large\."))


def test_the_drawn_network_says_what_joins_what(page: Page) -> None:
    page.goto("/#/learn")
    expect(network(page).get_by_role("button", name="w7 = 2, weight from u1 to o1", exact=True)).to_have_text("w7 = 2")
    expect(network(page).get_by_role("img", name="Hidden neuron u2: not known yet, bias b2 −1")).to_be_visible()
    expect(network(page).get_by_role("img", name="Wanted output y2: 4")).to_be_visible()
    page.get_by_role("slider", name="Step").fill(str(LAST))
    last = "w6 = 3, weight from x2 to u3, derivative of the loss 212"
    expect(network(page).get_by_role("button", name=last)).to_be_visible()
    expect(network(page).get_by_role("img", name="Output o1")).to_contain_text("by o1 and b4: −22")
    expect(network(page).get_by_role("img", name=re.compile(r"^Loss L: \d+"))).to_be_visible()


def test_the_drawings_letters_are_large_enough_to_read(page: Page) -> None:
    page.goto("/#/learn")
    network(page).wait_for()
    pixels = """svg => [...svg.querySelectorAll("text")].map(
        (text) => parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a)"""
    assert min(network(page).evaluate(pixels)) >= 11.5
