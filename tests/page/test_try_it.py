"""A model that is tried in the page: it predicts what the service does, as one types or draws."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


def prediction(page: Page) -> Locator:
    return page.get_by_role("region", name="Prediction")


def shares(page: Page) -> dict[str, str]:
    """What is drawn of the probabilities: the share in words, by class."""
    found = {}
    for line in prediction(page).get_by_role("listitem").all():
        name, share = line.inner_text().split("\n")
        drawn = line.locator("i").evaluate("bar => new DOMMatrix(bar.style.transform).a")
        assert drawn * 100 == pytest.approx(float(share.removesuffix(" %")), abs=0.06)
        found[name] = share
    return found


def probabilities(service: RunningService, job_id: str, row: dict[str, Any]) -> dict[str, float]:
    answer = service.http.post(f"/v1/jobs/{job_id}/predict", json={"rows": [row]}).json()
    return dict(answer["predictions"][0]["probabilities"])


def asks(feature: str, value: float) -> Callable[[Request], bool]:
    """Whether a request is for the prediction of a row with that."""
    return lambda request: "/predict" in request.url and request.post_data_json["rows"][0][feature] == value


def test_a_model_predicts_as_one_types(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/try")
    value = prediction(page).locator(".value")
    value.wait_for()
    expect(value).to_have_text(re.compile(r"[\d.]+"))
    before = value.inner_text()
    page.get_by_label("alcohol").fill("14")
    expect(value).not_to_have_text(before)


def test_a_number_is_what_is_typed_key_by_key(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/try")
    prediction(page).locator(".value").wait_for()
    box = page.get_by_label("alcohol")
    for typed in ("1.05", "-0.5", "0.05", "1e-05"):
        box.press("Control+a")
        with page.expect_request(asks("alcohol", float(typed))):
            box.press_sequentially(typed)
        expect(box).to_have_value(typed)


def test_a_prediction_of_a_row_before_is_dimmed_beside_why_there_is_none_of_this_one(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/try")
    value = prediction(page).locator(".stack:has(> .value)")
    value.wait_for()
    expect(value).not_to_have_class(re.compile("stale"))
    page.route(re.compile("/predict"), lambda route: route.fulfill(status=409, json={"detail": "not now"}), times=1)
    page.get_by_label("alcohol").fill("14")
    expect(prediction(page).get_by_role("alert")).to_contain_text("not now")
    expect(value).to_have_class(re.compile("stale"))
    page.get_by_label("alcohol").fill("13")
    expect(value).not_to_have_class(re.compile("stale"))


def test_a_tensor_that_is_no_json_is_a_mistake_until_it_is_some(page: Page, digits: str) -> None:
    images(page, pixel=-0.5, highest=1)
    page.goto(f"/#/jobs/{digits}/try")
    box, said = page.get_by_label("image"), page.get_by_text("expected nested lists of numbers in JSON")
    value = prediction(page).locator(".stack:has(> .value)")
    value.wait_for()
    right = box.input_value()
    box.fill("[[1,")
    box.blur()
    expect(said).to_be_visible()
    expect(value).to_have_class(re.compile("stale"))
    page.get_by_role("button", name="Next row").click()
    expect(said).to_have_count(0)
    expect(box).to_have_value(right)
    expect(value).not_to_have_class(re.compile("stale"))


def test_a_model_is_tried_without_examples_where_they_do_not_come(page: Page, trained: str) -> None:
    refused = {"detail": "four are under way"}
    page.route(re.compile("/preview"), lambda route: route.fulfill(status=409, json=refused), times=1)
    page.goto(f"/#/jobs/{trained}/try")
    expect(prediction(page).locator(".value")).to_have_text(re.compile(r"[\d.]+"))
    trouble = page.get_by_role("alert")
    expect(trouble).to_contain_text("No example rows: four are under way")
    trouble.get_by_role("button", name="Try again").click()
    expect(prediction(page)).to_contain_text("Row 1 of the data set has")
    expect(trouble).to_have_count(0)


def test_what_a_row_has_is_told_until_the_row_is_changed(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/try")
    told = prediction(page).get_by_text("of the data set has")
    expect(told).to_have_text(re.compile(r"^Row 1 of the data set has quality = \d\.$"))
    page.get_by_label("alcohol").fill("14")
    expect(told).to_have_count(0)
    page.get_by_role("button", name="Next row").click()
    expect(told).to_have_text(re.compile("^Row 2 "))
    page.get_by_label("alcohol").fill("")
    expect(told).to_have_count(0)


def test_a_row_tells_all_its_targets_as_they_are(page: Page, service: RunningService, tmp_path: Path) -> None:
    file = tmp_path / "two.csv"
    file.write_text("a,total,share\n" + "1,1234567.89,0.1234567\n2,1234560.5,0.25\n" * 20)
    service.upload("two", file)
    job = service.trained(dataset="two", target=["total", "share"], epochs=1)
    page.goto(f"/#/jobs/{job['id']}/try")
    expect(prediction(page)).to_contain_text("Row 1 of the data set has total = 1234567.89, share = 0.1234567.")


def test_probabilities_are_drawn_as_the_service_tells_them_and_change_as_one_types(
    page: Page, service: RunningService, classified: str
) -> None:
    page.goto(f"/#/jobs/{classified}/try")
    seen = []
    for a in (-2.0, 3.0):
        page.get_by_label("a", exact=True).fill(str(a))
        page.get_by_label("b", exact=True).fill("0.5")
        expected = probabilities(service, classified, {"a": a, "b": 0.5})
        seen.append(max(expected, key=lambda name: expected[name]))
        expect(prediction(page).locator(".value")).to_have_text(seen[-1])
        expect(prediction(page).get_by_role("listitem").first).to_contain_text(f"{100 * expected[seen[-1]]:.1f} %")
        assert shares(page) == {name: f"{100 * share:.1f} %" for name, share in expected.items()}
    assert seen == ["no", "yes"], "else this shows nothing"


def test_a_digit_is_drawn_by_keyboard_alone(page: Page, service: RunningService, digits: str) -> None:
    page.goto(f"/#/jobs/{digits}/try")
    pad = page.get_by_role("application", name="arrow keys move the pen, Space draws")
    page.get_by_role("button", name="Clear").press("Enter")
    likeliest = max(probabilities(service, digits, {"image": [[0] * 28] * 28}).values())
    expect(prediction(page).get_by_role("listitem").first).to_contain_text(f"{100 * likeliest:.1f} %")
    pad.focus()
    for key, times in (("ArrowRight", 14), ("ArrowDown", 5), ("Space", 1), ("Shift+ArrowDown", 17)):
        for _ in range(times):
            page.keyboard.press(key)
    expect(page.get_by_role("status").filter(has_text="row 23, column 15: ink 255")).to_have_count(1)
    expect(prediction(page).locator(".value")).to_have_text("1")
    drawn = pad.locator("canvas").evaluate("pad => [...pad.getContext('2d').getImageData(0, 0, 28, 28).data]")
    dark = {(at // 28, at % 28) for at, grey in enumerate(drawn[::4]) if grey == 0}
    assert dark >= {(row, 14) for row in range(5, 23)}
    assert {column for _, column in dark} <= {13, 14, 15}


def test_a_digit_is_drawn_with_the_mouse(page: Page, digits: str) -> None:
    page.goto(f"/#/jobs/{digits}/try")
    page.get_by_role("button", name="Clear").click()
    pad = page.get_by_role("application", name="draw")
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8, steps=30)
    page.mouse.up()
    expect(prediction(page).locator(".value")).to_have_text("1")


def images(page: Page, pixel: float, highest: float) -> None:
    """The example rows have one image then, with two pixels that are not 0."""
    image = [[0.0] * 28 for _ in range(28)]
    image[0][0], image[27][27] = pixel, highest
    page.route(re.compile("/preview"), lambda route: route.fulfill(json={"rows": [{"image": image, "digit": "1"}]}))


def test_an_image_is_drawn_with_the_ink_of_the_examples(page: Page, digits: str) -> None:
    images(page, pixel=0.5, highest=1)
    page.goto(f"/#/jobs/{digits}/try")
    pad = page.get_by_role("application", name="draw")
    expect(pad).to_be_visible()
    grey = "pad => [...pad.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, at) => at % 4 === 0)"
    seen = pad.locator("canvas").evaluate(grey)
    assert (seen[0], seen[1], seen[-1]) == (128, 255, 0)
    pad.press("ArrowRight")
    with page.expect_request(re.compile("/predict")) as request:
        pad.press("Space")
    drawn = request.value.post_data_json["rows"][0]["image"]
    assert drawn[0][1] == max(max(line) for line in drawn) == 1
    assert 0 < drawn[0][2] < 1
    expect(page.get_by_role("status").filter(has_text="row 1, column 2: ink 1")).to_have_count(1)


def test_what_has_negative_values_is_no_drawing(page: Page, digits: str) -> None:
    images(page, pixel=-0.5, highest=1)
    page.goto(f"/#/jobs/{digits}/try")
    expect(page.get_by_label("image")).to_have_value(re.compile(r"^\[\[-0\.5,0,"))
    expect(page.get_by_role("application")).to_have_count(0)
