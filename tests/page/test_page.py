"""The page as a whole: open to everybody, small, and the service's own."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from support.browser import AXE, signed_in, violations
from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]

MAX_BYTES = 300_000


@pytest.mark.parametrize(
    ("scheme", "width", "rules"), [("light", 1280, []), ("light", 360, []), ("dark", 1280, ["color-contrast"])]
)
def test_axe_finds_nothing_in_any_view(
    browser: Browser, service: RunningService, trained: str, classified: str, scheme: Any, width: int, rules: list[str]
) -> None:
    if not AXE.is_file():
        pytest.skip("axe is not installed: make page")
    views = {
        "#/jobs": "a wine",
        f"#/jobs/{trained}": "Learning rate",
        f"#/jobs/{trained}/quality": "residuals",
        f"#/jobs/{classified}/quality": "Precision–recall",
        f"#/jobs/{trained}/network": "early_stopping",
        f"#/jobs/{trained}/history": "Checkpoints",
        f"#/jobs/{trained}/logs": "succeeded:",
        f"#/jobs/{trained}/try": "alcohol",
        "#/datasets": "wine",
        "#/datasets/wine": "fixed_acidity",
        "#/new": "validation rows",
        f"#/compare?jobs={trained}": "What differs",
        "#/cluster": "Who uses them",
        "#/learn": "Take the step",
    }
    size: Any = {"width": width, "height": 740}
    context = signed_in(browser, service, color_scheme=scheme, reduced_motion="reduce", viewport=size)
    page = context.new_page()
    found = {}
    for view, text in views.items():
        page.goto(f"/{view}")
        page.get_by_role("main").get_by_text(text).first.wait_for()
        found[view] = violations(page, *rules)
    context.clear_cookies()
    page.reload()
    page.get_by_label("Key").fill("unknown")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("does not know this key").wait_for()
    found["signing in"] = violations(page, *rules)
    context.close()
    assert {view: wrong for view, wrong in found.items() if wrong} == {}


def test_axe_finds_nothing_where_a_job_runs_pauses_or_fails_where_nothing_is_and_where_no_answer_comes(
    browser: Browser, service: RunningService
) -> None:
    if not AXE.is_file():
        pytest.skip("axe is not installed: make page")
    spec = {"dataset": "wine", "target": "quality"}
    failing = {"optimizer": {"type": "sgd", "learning_rate": 500.0}, "preprocessing": {"standardize": False}}
    failed, long = service.submit(**spec, **failing)["id"], service.submit(**spec, epochs=20_000)["id"]
    service.until(failed, "failed")
    service.until(long, "running")
    context = signed_in(browser, service, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    found = {}

    def look(state: str, *views: str) -> None:
        for view in views:
            page.goto(f"/#/{view}")
            page.reload()
            page.get_by_role("heading", level=1).first.wait_for()
            page.get_by_role("status", name="Loading").first.wait_for(state="detached")
            found[f"{state}: {view}"] = violations(page)

    look("failed", f"jobs/{failed}", f"jobs/{failed}/logs", f"jobs/{failed}/quality", f"jobs/{failed}/try")
    look("running", "jobs", f"jobs/{long}", f"jobs/{long}/history", "cluster")
    service.act(long, "pause")
    service.until(long, "paused")
    look("paused", f"jobs/{long}", f"jobs/{long}/history")
    service.act(long, "cancel")
    nothing = {"items": [], "next_cursor": None}
    lists = re.compile(r"/v1/(jobs|datasets)\?")
    page.route(lists, lambda route: route.fulfill(json=nothing))
    look("empty", "jobs", "datasets", "new", "compare")
    page.unroute(lists)
    page.route("**/v1/**", lambda route: route.fulfill(status=503, json={"detail": "the database does not answer"}))
    for view in ("jobs", "datasets", "cluster", f"jobs/{failed}"):
        page.goto(f"/#/{view}")
        page.get_by_role("alert").first.wait_for()
        found[f"no answer: {view}"] = violations(page)
    context.close()
    assert {view: wrong for view, wrong in found.items() if wrong} == {}


def test_a_bad_file_is_refused_by_row_and_column_and_a_good_one_is_taken(page: Page, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text("a,b\n1,2\n3\n5,6\n")
    good.write_text("a,b\n" + "1,2\n3,4\n" * 20)
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(bad)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("row 2")
    page.get_by_role("button", name="Another file").click()
    page.locator("input[type=file]").set_input_files(good)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("heading", name="good").wait_for()
    expect(page.get_by_role("region", name="Columns").get_by_role("img")).to_have_count(2)


def test_a_file_is_dropped_and_a_cell_of_it_that_is_wrong_is_named(page: Page, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad-cell.csv", tmp_path / "dropped.csv"
    bad.write_text("a,b\n1,2\n3,4\nfive,6\n")
    good.write_text("a,b\n" + "1,2\n3,4\n" * 20)
    page.goto("/#/datasets")
    drop(page, bad)
    page.get_by_label("Types").fill("a:number")
    page.get_by_role("button", name="Upload").click()
    for told in ("row 3", "a", "five"):
        expect(page.get_by_role("alert")).to_contain_text(told)
    drop(page, good)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("heading", name="dropped").wait_for()


def test_a_file_beside_the_place_for_it_does_not_make_the_browser_leave(page: Page) -> None:
    is_left_to_the_browser = """heading => {
        const data = new DataTransfer();
        data.items.add(new File(["a"], "a.csv"));
        const event = kind => new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true});
        return ["dragover", "drop"].filter(kind => heading.dispatchEvent(event(kind)));
    }"""
    for view in ("jobs", "datasets"):
        page.goto(f"/#/{view}")
        assert page.get_by_role("heading", level=1).evaluate(is_left_to_the_browser) == []


def test_a_file_of_tabs_is_read_with_what_it_calls_missing(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "tabs.csv"
    file.write_text("a\tb\n" + "1\tx,y\nn/k\tz,y\n" * 20)
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_label("Delimiter").fill("tab")
    page.get_by_label("Missing values").fill("n/k")
    page.get_by_role("button", name="Upload").click()
    columns = page.get_by_role("region", name="Columns")
    expect(columns.get_by_role("row").nth(1)).to_contain_text(re.compile("a.*integer.*20 \\(50"))
    expect(columns.get_by_role("row").nth(2)).to_contain_text("2 different")


def test_an_upload_shows_how_far_it_is_and_then_the_first_rows(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "slow.csv"
    file.write_text("number,word\n" + "".join(f"{row},word {row % 7}\n" for row in range(20_000)))
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(file)
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    line.send("Network.emulateNetworkConditions", slow)
    page.get_by_role("button", name="Upload").click()
    bar = page.get_by_role("progressbar", name="Upload")
    expect(bar).to_have_attribute("value", re.compile(r"^0\.[1-9]"))
    seen = float(bar.get_attribute("value") or "1")
    expect(page.get_by_role("region", name="Upload a data set")).to_contain_text(re.compile(r"\d\d %"))
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    drop(page, other)
    expect(page.get_by_label("Name", exact=True)).to_have_value("slow")  # one at a time
    line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.get_by_role("heading", name="slow").wait_for()
    assert 0 < seen < 1
    rows = page.get_by_role("region", name="First rows").get_by_role("row")
    for number, cells in enumerate((["number", "word"], ["0", "word 0"], ["1", "word 1"], ["2", "word 2"])):
        expect(rows.nth(number).locator("th, td")).to_have_text(cells)


def test_an_upload_goes_on_in_sight_whichever_view_is_looked_at(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "left.csv"
    file.write_text("number,word\n" + "".join(f"{row},word {row % 7}\n" for row in range(20_000)))
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(file)
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
    line.send("Network.emulateNetworkConditions", slow)
    bar = page.get_by_role("progressbar", name="Upload")
    links = page.get_by_role("navigation", name="Main")
    warns = "() => !dispatchEvent(new Event('beforeunload', {cancelable: true}))"

    def send_and_leave() -> None:
        page.get_by_role("button", name="Upload").click()
        expect(bar).to_have_attribute("value", re.compile(r"^0\.\d"))
        assert page.evaluate(warns)
        links.get_by_role("link", name="Cluster").click()
        expect(page.get_by_role("heading", name="Cluster")).to_be_visible()

    send_and_leave()
    links.get_by_role("link", name="Data sets").click()
    expect(bar).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("alert")).to_contain_text("was stopped")
    assert not page.evaluate(warns)
    send_and_leave()
    with page.expect_response(re.compile(r"/v1/datasets\?name=left")):
        line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    links.get_by_role("link", name="Data sets").click()
    page.get_by_role("status").get_by_role("link", name="left").click()
    page.get_by_role("heading", name="left").wait_for()


def drop(page: Page, file: Path) -> None:
    """Drags a file over the place for it, and lets it go there, as the browser itself would tell of it."""
    box = page.get_by_role("region", name="Upload a data set").bounding_box()
    assert box is not None
    browser = page.context.new_cdp_session(page)
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    page.get_by_role("button", name="Upload").wait_for()


def test_the_first_rows_are_as_they_are_and_their_head_is_not_broken(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "precise.csv"
    names = [f"a long name of column {number}" for number in range(12)]
    file.write_text("\n".join([",".join(names), *[",".join(["1234567.89"] * 12), ",".join(["0.1234567"] * 12)] * 9]))
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    rows = page.get_by_role("region", name="First rows").get_by_role("row")
    expect(rows.nth(1).get_by_role("cell").first).to_have_text("1234567.89")
    lines = "heads => Math.max(...heads.map((head) => head.getBoundingClientRect().height))"
    assert rows.get_by_role("columnheader").evaluate_all(lines) < 35, "one line, and its padding"
    columns = page.get_by_role("region", name="Columns", exact=True)
    expect(columns.get_by_role("row").nth(1)).to_contain_text("0.1234567 to 1234567.89")


def test_a_file_of_another_kind_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG")
    page.goto("/#/datasets")
    page.locator("input[type=file]").set_input_files(picture)
    expect(page.get_by_role("alert")).to_contain_text("none of .csv")


def test_the_first_load_is_small(page: Page) -> None:
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.includes('/assets/')).map(e => e.transferSize)"
    )
    assert loaded
    assert sum(loaded) <= MAX_BYTES, loaded


def test_colours_are_those_of_the_system_until_somebody_chooses(page: Page) -> None:
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Use light colours").click()
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


def test_a_dark_system_sees_no_white_page_before_the_script_runs(browser: Browser, service: RunningService) -> None:
    grounds = []
    for with_scripts in (False, True):
        context = signed_in(browser, service, color_scheme="dark", java_script_enabled=with_scripts)
        page = context.new_page()
        page.goto("/")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert grounds[0] == grounds[1] != "rgb(247, 248, 250)"


def test_colours_can_be_chosen_where_the_browser_keeps_nothing(browser: Browser, service: RunningService) -> None:
    context = signed_in(browser, service)
    page = context.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }})")
    page.goto("/")
    page.get_by_role("button", name="Use dark colours").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    context.close()


def test_a_field_of_the_spec_is_explained_by_keyboard(page: Page, service: RunningService, trained: str) -> None:
    schemas = service.http.get("/openapi.json").json()["components"]["schemas"]
    described = schemas["JobSpec"]["properties"]["batch_size"]["description"]
    page.goto(f"/#/jobs/{trained}/network")
    field = page.get_by_role("rowheader").filter(has=page.get_by_text("batch_size", exact=True))
    expect(field.get_by_role("paragraph")).to_be_hidden()
    field.locator("summary").press("Enter")
    expect(field.get_by_role("paragraph")).to_have_text(described)


def test_nothing_is_wider_than_a_phone(
    browser: Browser, service: RunningService, trained: str, classified: str
) -> None:
    context = signed_in(browser, service, viewport={"width": 360, "height": 740})
    page = context.new_page()
    wide = []
    for view in (
        "jobs",
        f"jobs/{trained}",
        f"jobs/{trained}/quality",
        f"jobs/{classified}/quality",
        f"jobs/{trained}/logs",
        f"jobs/{trained}/history",
        f"jobs/{trained}/try",
        "datasets/wine",
        "new",
        "cluster",
        "learn",
    ):
        page.goto(f"/#/{view}")
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("networkidle") if view == "new" else None
        page.get_by_role("slider").first.wait_for() if view.endswith("quality") else None
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(view)
    context.close()
    assert wide == []


def test_long_names_without_a_space_make_nothing_wider_than_a_phone(
    browser: Browser, service: RunningService, trained: str, tmp_path: Path
) -> None:
    long = "n" * 190
    columns = [f"{long}{number}" for number in range(3)]
    rows = [f"{row % 7},{row % 5},{long}{row % 3}" for row in range(90)]
    file = tmp_path / "long.csv"
    file.write_text("\n".join([",".join(columns), *rows]))
    data = service.upload(long, file)
    spec = {"dataset": long, "target": columns[2], "layers": [{"type": "dense", "units": 4}], "epochs": 1}
    job = service.trained(**spec, name=long, labels={"k" * 63: "v" * 200}, validation={"fraction": 0.3})["id"]
    views = {
        "jobs": long,
        f"jobs?label={'k' * 63}": long,
        f"jobs/{job}": "v" * 200,
        f"jobs/{job}/quality": "against the rest",
        f"jobs/{job}/network": "early_stopping",
        f"jobs/{job}/history": "Checkpoints",
        f"jobs/{job}/logs": "succeeded:",
        f"jobs/{job}/try": "Row 1 of the data set",
        f"compare?jobs={trained},{job}": "What differs",
        "datasets": long,
        f"datasets/{data['id']}": "33 %",  # beside its values, which come last
        f"new?from={job}": "validation rows",
        "cluster": "Who uses them",
    }
    context = signed_in(browser, service, viewport={"width": 360, "height": 740})
    page = context.new_page()
    wide = {}
    for view, text in views.items():
        page.goto(f"/#/{view}")
        page.get_by_role("main").get_by_text(text).first.wait_for()
        wide[view] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.goto(f"/#/new?dataset={data['id']}")
    expect(page.get_by_role("button", name="Submit")).to_be_enabled()
    context.close()
    service.http.delete(f"/v1/datasets/{data['id']}")  # else a new job is on it at first
    assert {view: beyond for view, beyond in wide.items() if beyond > 0} == {}


def test_the_list_of_jobs_fits_into_every_window(browser: Browser, service: RunningService, trained: str) -> None:
    context = signed_in(browser, service)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="a wine", exact=True).wait_for()
    beyond = "document.querySelector('[role=table]').getBoundingClientRect().right"
    cells = page.get_by_role("row").locator("visible=true").locator("> :visible")
    for width in (360, 721, 900, 1041, 1100, 1181, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        rights = cells.evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().right)")
        assert max(rights) <= page.evaluate(beyond), width
    context.close()


def test_a_phone_shows_every_link_and_button_of_the_frame(browser: Browser, service: RunningService) -> None:
    context = signed_in(browser, service, viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto("/")
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    frame = page.get_by_role("banner")
    for name in ("Jobs", "New job", "Data sets", "Compare", "Cluster", "Learn", "API"):
        expect(frame.get_by_role("link", name=name, exact=True)).to_be_in_viewport(ratio=1)
    for name in ("Sign out", "Use dark colours"):
        expect(frame.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    context.close()


def test_the_docs_keep_to_the_same_policy(page: Page) -> None:
    page.goto("/docs")
    page.get_by_text("Submit a job").wait_for()


def test_a_view_that_could_not_be_loaded_says_so_and_can_be_tried_again(
    browser: Browser, service: RunningService
) -> None:
    context = signed_in(browser, service)
    page = context.new_page()
    page.goto("/")
    context.route("**/assets/NewJob*", lambda route: route.abort())
    page.get_by_role("navigation").get_by_role("link", name="New job").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    context.unroute("**/assets/NewJob*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_label("As YAML")).to_be_visible()
    context.close()


def test_the_frame_is_there_while_it_is_asked_who_is_signed_in(page: Page) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route("**/v1/session", hold)
    page.reload()
    expect(page.get_by_role("main").get_by_role("status", name="Loading")).to_be_visible()
    waiting[0].continue_()
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()


def test_a_session_that_is_over_leads_to_the_sign_in(
    browser: Browser, service: RunningService, trained: str, tmp_path: Path
) -> None:
    file = tmp_path / "late.csv"
    file.write_text("a,b\n1,2\n")

    def upload(page: Page) -> None:
        page.locator("input[type=file]").set_input_files(file)
        page.context.clear_cookies()
        page.get_by_role("button", name="Upload").click()

    def try_it(page: Page) -> None:
        expect(page.get_by_role("slider").first).to_be_visible()
        page.context.clear_cookies()
        page.get_by_role("link", name="Try it").click()

    for view, act in (("datasets", upload), (f"jobs/{trained}", try_it)):
        context = signed_in(browser, service)
        page = context.new_page()
        page.goto(f"/#/{view}")
        act(page)
        expect(page.get_by_label("Key")).to_be_visible()
        context.close()


def test_who_could_not_be_signed_out_is_told_so_and_tries_again(page: Page) -> None:
    def refuse(route: Route) -> None:
        is_sign_out = route.request.method == "DELETE"
        route.fulfill(status=409, json={"detail": "not now"}) if is_sign_out else route.fallback()

    page.route("**/v1/session", refuse)
    page.get_by_role("button", name="Sign out").click()
    trouble = page.get_by_role("alert")
    expect(trouble).to_contain_text("You are still signed in. not now")
    page.unroute("**/v1/session")
    trouble.get_by_role("button", name="Try again").click()
    expect(page.get_by_label("Key")).to_be_visible()


def test_a_link_of_somebody_else_moves_nobody_who_is_signed_in_unasked(page: Page, service: RunningService) -> None:
    asked = {"name": "a stranger", "tenant": "strangers", "scopes": ["submit"]}
    key = service.http.post("/v1/keys", json=asked).json()["key"]
    link = service.http.post("/v1/signin-links", headers={"Authorization": f"Bearer {key}"}).json()["path"]
    who = page.locator("p.who")

    def open_link() -> None:
        page.goto("about:blank")
        page.goto(link)
        expect(page.get_by_role("button", name="Stay as I am")).to_be_focused()

    for answer in ("Enter", "Escape"):
        open_link()
        assert "signin" not in page.url, "the code is nobody's to bookmark"
        assert violations(page) == []
        page.keyboard.press(answer)
        expect(who).to_contain_text("default")
    open_link()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(who).to_contain_text("a stranger · strangers")


def test_who_may_only_read_is_told_so_by_what_changes_something(
    browser: Browser, service: RunningService, trained: str, tmp_path: Path
) -> None:
    key = service.http.post("/v1/keys", json={"name": "onlooker", "scopes": ["read"]}).json()["key"]
    context = browser.new_context(base_url=str(service.http.base_url))
    assert context.request.post("/v1/session", headers={"Authorization": f"Bearer {key}"}).ok
    page = context.new_page()
    file = tmp_path / "never.csv"
    file.write_text("a,b\n1,2\n")
    for view, name in (
        (f"jobs/{trained}", "Delete"),
        ("datasets/wine", "Delete"),
        ("new", "Submit"),
        ("datasets", "Upload"),
    ):
        page.goto(f"/#/{view}")
        if view == "datasets":
            page.locator("input[type=file]").set_input_files(file)
        button = page.get_by_role("button", name=name)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", re.compile("^The key onlooker may only read"))
    context.close()


def test_a_link_signs_in_once_and_a_key_does_it_too(browser: Browser, service: RunningService) -> None:
    link = service.http.post("/v1/signin-links").json()["path"]
    context = browser.new_context(base_url=str(service.http.base_url))
    page = context.new_page()
    page.goto(link)
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    assert "signin" not in page.url, "the code is nobody's to bookmark"
    context.clear_cookies()
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_text("This link was used already")).to_be_visible()
    page.get_by_label("Key").fill(service.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").wait_for()
    page.goto(service.http.post("/v1/signin-links").json()["path"])  # which loads nothing: the page is open already
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    context.close()


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
