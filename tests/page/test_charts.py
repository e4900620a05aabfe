"""What charts show: the numbers of the REST API, read with the mouse, by keyboard and as tables."""

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


def metrics_of(service: RunningService, job_id: str) -> list[dict[str, Any]]:
    return list(service.http.get(f"/v1/jobs/{job_id}/metrics").json()["items"])


def evaluation_of(service: RunningService, job_id: str) -> dict[str, Any]:
    return dict(service.http.get(f"/v1/jobs/{job_id}/evaluation").json())


def chart(page: Page, title: str) -> Locator:
    return page.get_by_role("figure").filter(has=page.get_by_role("heading", name=title))


def read(slider: Locator) -> str:
    return slider.get_attribute("aria-valuetext") or ""


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?[\d.]+", text)]


def share(value: float) -> str:
    """As the page writes it, which rounds a half up."""
    return f"{Decimal(100 * value).quantize(Decimal('0.1'), ROUND_HALF_UP)} %"


def table_of(figure: Locator) -> list[list[str]]:
    """The rows of a chart's table, which is folded up at first."""
    figure.get_by_text("As a table").click()
    figure.get_by_role("table").wait_for()
    return [row.get_by_role("cell").all_inner_texts() for row in figure.get_by_role("row").all()[1:]]


def dot(figure: Locator) -> tuple[float, float]:
    """Where the dot is on the screen that marks what is read of the first series."""
    box = figure.locator(".u-cursor-pt").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_curves_are_by_step_epoch_or_time(page: Page, service: RunningService, trained: str) -> None:
    last = metrics_of(service, trained)[-1]
    page.goto(f"/#/jobs/{trained}")
    for axis, told in (
        ("step", f"step {last['step']:,}"),
        ("epoch", f"epoch {last['epoch']}"),
        ("time", f"time {last['elapsed_s']:.1f} s"),
    ):
        page.get_by_role("button", name=f"by {axis}").click()
        expect(page.get_by_role("button", name=f"by {axis}")).to_have_attribute("aria-pressed", "true")
        for title in ("Loss", "Throughput", "Learning rate", "validation R²"):
            slider = page.get_by_role("slider", name=f"{title} by {axis}")
            expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^{re.escape(told)}: "))


def test_on_the_log_axis_equal_factors_are_equal_heights(page: Page, service: RunningService, trained: str) -> None:
    losses = [each["train_loss"] for each in metrics_of(service, trained)]
    page.goto(f"/#/jobs/{trained}")
    slider = page.get_by_role("slider", name="Loss by step")
    expect(slider).to_have_attribute("aria-valuemax", str(len(losses) - 1))

    def heights() -> list[float]:
        found = []
        slider.press("Home")
        for _ in losses:
            found.append(dot(chart(page, "Loss"))[1])
            slider.press("ArrowRight")
        return found

    def shares(values: list[float]) -> list[float]:
        return [(value - values[0]) / (values[-1] - values[0]) for value in values]

    straight = shares(heights())
    page.get_by_role("button", name="Log axis").click()
    expect(page).to_have_url(re.compile("log=1"))
    logarithmic = shares(heights())
    assert straight == pytest.approx(shares(losses), abs=0.03)
    assert logarithmic == pytest.approx(shares([math.log(loss) for loss in losses]), abs=0.03)
    assert max(abs(a - b) for a, b in zip(straight, logarithmic, strict=True)) > 0.03, "else this shows nothing"


def test_the_mouse_reads_values_and_zooms(page: Page, service: RunningService, trained: str) -> None:
    metrics = metrics_of(service, trained)
    steps = [each["step"] for each in metrics]
    page.goto(f"/#/jobs/{trained}")
    figure = chart(page, "Loss")
    slider = page.get_by_role("slider", name="Loss by step")
    expect(slider).to_have_attribute("aria-valuemax", str(len(steps) - 1))
    box = figure.locator(".u-over").bounding_box()
    assert box is not None

    def at(share: float) -> tuple[float, float]:
        return box["x"] + box["width"] * share, box["y"] + box["height"] / 2

    second = metrics[1]
    page.mouse.move(*at((second["step"] - steps[0]) / (steps[-1] - steps[0])))
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^step {second['step']}: training "))
    for told in (f"step {second['step']}", f"training {second['train_loss']:#.4g}"):
        expect(figure.get_by_role("list", include_hidden=True)).to_contain_text(told)
    everything = page.get_by_role("button", name="Show all of Loss")
    expect(everything).to_have_count(0)
    page.mouse.move(*at(0.4))
    page.mouse.down()
    page.mouse.move(*at(0.95), steps=4)
    page.mouse.up()
    expect(everything).to_be_visible()
    page.mouse.move(*at(0.02))
    in_sight = [step for step in steps if step >= steps[0] + 0.4 * (steps[-1] - steps[0])]
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^step {in_sight[0]}: "))
    everything.click()
    page.mouse.move(*at(0.02))
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^step {steps[0]}: "))


def test_a_classification_is_judged_by_the_numbers_of_the_service(
    page: Page, service: RunningService, classified: str
) -> None:
    told = evaluation_of(service, classified)
    page.goto(f"/#/jobs/{classified}/quality")
    matrix = page.get_by_role("group", name="Confusion matrix").get_by_role("row")
    for row, name, counts in zip((1, 2), told["classes"], told["confusion"], strict=True):
        right = share(counts[row - 1] / sum(counts))
        expect(matrix.nth(row)).to_have_text(re.compile(rf"^{name}\s*{counts[0]}\s*{counts[1]}\s*{right}$"))
    for key, title, across, up in (
        ("roc", "ROC, area", "false positive rate", "true positive rate"),
        ("precision_recall", "Precision–recall, area", "recall", "precision"),
    ):
        curve = told[key]
        figure = chart(page, f"{title} {curve['area']:#.4g}")
        rows = table_of(figure)
        points = {
            (share(x), share(y), threshold(logit))
            for x, y, logit in zip(curve["x"], curve["y"], curve["threshold"], strict=True)
        }
        assert {tuple(row) for row in rows} <= points
        assert len(rows) == min(40, len(curve["x"]))
        slider = figure.get_by_role("slider")
        middle = min(range(1, len(curve["x"])), key=lambda index: abs(curve["threshold"][index]))
        assert read(slider) == point(curve, middle, across, up), "at first, where both classes are as likely"
        slider.press("Home")
        assert read(slider) == point(curve, 0, across, up)
        expect(figure.get_by_role("list", include_hidden=True)).to_contain_text("chance")


def threshold(logit: float | None) -> str:
    return "none" if logit is None else share(1 / (1 + math.exp(-logit)))


def point(curve: dict[str, Any], index: int, across: str, up: str) -> str:
    """What the slider of a curve over thresholds says at an index."""
    x, y, logit = (curve[name][index] for name in ("x", "y", "threshold"))
    return f"{across} {share(x)}: {up} {share(y)}, threshold {threshold(logit)}"


def test_a_class_is_picked_whose_curves_against_the_rest_are_drawn(
    page: Page, service: RunningService, digits: str
) -> None:
    told = evaluation_of(service, digits)["by_class"]
    page.goto(f"/#/jobs/{digits}/quality")
    picker = page.get_by_label("Class")
    expect(picker.get_by_role("option")).to_have_text([str(digit) for digit in range(10)])
    for each in (told[0], told[7]):
        picker.select_option(each["name"])
        expect(page.get_by_role("main")).to_contain_text(f"against the rest: {each['rows']} of {each['of_rows']} rows")
        for key, title, across, up in (
            ("roc", "ROC, area", "false positive rate", "true positive rate"),
            ("precision_recall", "Precision–recall, area", "recall", "precision"),
        ):
            slider = chart(page, f"{title} {each[key]['area']:#.4g}").get_by_role("slider")
            slider.press("End")
            assert read(slider) == point(each[key], -1, across, up)


def test_the_threshold_is_told_where_the_mouse_is(page: Page, service: RunningService, classified: str) -> None:
    roc = evaluation_of(service, classified)["roc"]
    page.goto(f"/#/jobs/{classified}/quality")
    figure = chart(page, "ROC")
    figure.get_by_role("slider").scroll_into_view_if_needed()
    box = figure.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.999, box["y"] + 9)
    expect(figure.get_by_role("list", include_hidden=True)).to_contain_text(
        f"threshold {threshold(roc['threshold'][-1])}"
    )


def test_a_histogram_says_how_many_rows_each_bar_has(page: Page, service: RunningService) -> None:
    told = {each["column"]: each["counts"] for each in service.http.get("/v1/datasets/wine/histograms").json()["items"]}
    page.goto("/#/datasets/wine")
    bars = page.get_by_role("region", name="Columns").get_by_role("row").filter(has_text="alcohol").get_by_role("img")
    said = bars.get_attribute("aria-label") or ""
    assert [int(rows.replace(",", "")) for rows in re.findall(r": ([\d,]+)(?:;|$)", said)] == told["alcohol"]


def test_who_predicts_exactly_is_at_45_degrees(page: Page, trained: str) -> None:
    page.goto(f"/#/jobs/{trained}/quality")
    figure = chart(page, "quality: predicted against actual")
    slider = figure.get_by_role("slider")
    slider.press("Home")
    left = dot(figure), numbers(read(slider))
    slider.press("End")
    right = dot(figure), numbers(read(slider))
    across, up = (abs((right[0][axis] - left[0][axis]) / (right[1][axis] - left[1][axis])) for axis in (0, 1))
    assert across == pytest.approx(up, rel=0.05), "a unit is as many pixels wide as it is high"


def test_a_regression_is_read_point_by_point_and_bar_by_bar(page: Page, service: RunningService, trained: str) -> None:
    target = evaluation_of(service, trained)["targets"][0]
    pairs = sorted(zip(target["actual"], target["predicted"], strict=True))
    page.goto(f"/#/jobs/{trained}/quality")
    figure = chart(page, "quality: predicted against actual")
    slider = figure.get_by_role("slider")
    slider.press("Home")
    assert read(slider) == f"actual {pairs[0][0]:g}: predicted {pairs[0][1]:#.4g}"
    slider.press("ArrowRight")  # of the many points above each other there, one that is low
    actual, predicted = numbers(read(slider))
    where = dot(figure)
    slider.press("End")
    assert read(slider) == f"actual {pairs[-1][0]:g}: predicted {pairs[-1][1]:#.4g}"
    page.mouse.move(*where)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^actual {actual:g}: "))
    assert numbers(read(slider)) == [actual, pytest.approx(predicted, abs=0.05)]
    assert table_of(figure)[0] == [f"{pairs[0][0]:g}", f"{pairs[0][1]:#.4g}"]

    edges, counts = target["residuals"]["edges"], target["residuals"]["counts"]
    figure = chart(page, "quality: residuals")
    assert [int(rows) for _, rows in table_of(figure)] == counts
    bar = counts.index(max(counts))
    figure.get_by_role("slider").scroll_into_view_if_needed()
    box = figure.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * (bar + 0.5) / len(counts), box["y"] + 9)
    told = f"predicted minus actual {edges[bar]:#.4g} to {edges[bar + 1]:#.4g}: rows {counts[bar]}"
    expect(figure.get_by_role("slider")).to_have_attribute("aria-valuetext", told)
