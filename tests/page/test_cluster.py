"""The view of the cluster: who uses which CPUs."""

import pytest
from playwright.sync_api import Page, expect

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
    expect(row).to_contain_text("2 of 2")
    service.act(job["id"], "cancel")
    expect(page.get_by_role("heading", name="0 of 2 CPUs in use")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("region", name="Jobs that run")).to_contain_text("Nobody at the moment")
    expect(row).to_contain_text("0 of 2")
