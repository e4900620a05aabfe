"""The view of the cluster: who uses which CPUs."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from support.running_service import RunningService

pytestmark = [pytest.mark.page, pytest.mark.ray]


def test_the_cluster_tells_who_uses_how_many_of_which_nodes_cpus(page: Page, service: RunningService) -> None:
    made = service.http.post("/v1/keys", json={"name": "ada", "scopes": ["submit"]}).json()
    spec = {"dataset": "wine", "target": "quality", "name": "ada's own", "epochs": 20_000, "workers": 2}
    job = service.http.post("/v1/jobs", json=spec, headers={"Authorization": f"Bearer {made['key']}"}).json()
    page.goto("/#/cluster")
    users = page.get_by_role("region", name="Jobs that run").get_by_role("row")
    expect(users.nth(1)).to_contain_text("ada's own")
    expect(page.get_by_role("list", name="CPUs by job").get_by_role("listitem")).to_have_text("ada's own: 2 CPUs")
    titles = users.nth(0).get_by_role("columnheader").all_inner_texts()
    cells = dict(zip(titles, users.nth(1).get_by_role("cell").all_inner_texts(), strict=True))
    assert (cells["Job"], cells["Owner"], cells["CPUs"]) == ("ada's own", "ada", "2")
    (node,) = service.http.get("/v1/cluster").json()["nodes"]
    row = page.get_by_role("region", name="Nodes").get_by_role("row").nth(1)
    expect(row).to_contain_text(node["address"])
    expect(row).to_contain_text(node["blas_kernel"])
    expect(row).to_contain_text("2 of 2")
    service.act(job["id"], "cancel")
    expect(page.get_by_role("heading", name="0 of 2 CPUs in use")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("region", name="Jobs that run")).to_contain_text("Nobody at the moment")
    expect(row).to_contain_text("0 of 2")


def test_of_a_long_queue_a_few_are_asked_for_and_named(page: Page, service: RunningService, trained: str) -> None:
    job, asked = service.job(trained), []

    def answer(route: Route) -> None:
        limit = int(route.request.url.partition("limit=")[2])
        asked.append(limit)
        waiting = [{**job, "id": f"job_{number:026d}", "name": f"job {number}"} for number in range(limit)]
        route.fulfill(json={"items": waiting, "next_cursor": "more"})

    page.route(re.compile(r"/v1/jobs\?state=queued"), answer)
    page.goto("/#/cluster")
    users = page.get_by_role("region", name="Jobs that run")
    expect(users).to_contain_text("More than 5 jobs wait: job 0, job 1, job 2, job 3, job 4, all")
    assert set(asked) == {6}
    users.get_by_role("link", name="all").click()
    expect(page.get_by_role("button", name="queued")).to_have_attribute("aria-pressed", "true")
