"""What deploy/ holds for Prometheus and Grafana fits together; tests/service/test_telemetry.py compares the names."""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "chainrule.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
COLUMNS = 24


def load(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def mounts(service: str) -> dict[str, str]:
    """What a service of the composition finds, by where it finds it."""
    split = [str(volume).removesuffix(":ro").rpartition(":") for volume in SERVICES[service]["volumes"]]
    return {inside: outside for outside, _, inside in split}


def test_the_dashboard_is_one_that_grafana_10_and_later_take() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["id"] is None, "the id is that of the Grafana which imports it"
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    rows = [panel["title"] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Jobs", "Queue", "Training", "Recovery", "HTTP", "Process"]
    source = next(each for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource")
    asked = {"type": source["query"], "uid": f"${{{source['name']}}}"}
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["datasource"] == asked
            assert [target["datasource"] for target in panel["targets"]] == [asked] * len(panel["targets"])


def test_no_panel_of_the_dashboard_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells


def test_prometheus_finds_its_rules_its_key_and_a_service_that_answers_to_that_name() -> None:
    config, found = load("prometheus.yml"), mounts("prometheus")
    assert found["/etc/prometheus/prometheus.yml"] == "./deploy/prometheus.yml"
    for file in config["rule_files"]:
        assert found[f"/etc/prometheus/{file}"] == f"./deploy/{file}"
    (scrape,) = config["scrape_configs"]
    assert scrape["authorization"]["credentials_file"] in found
    assert scrape["metrics_path"] == "/metrics"
    for target in scrape["static_configs"][0]["targets"]:
        name, port = target.split(":")
        environment = SERVICES[name]["environment"]
        assert name in environment["CHAINRULE_ALLOWED_HOST"].split(",")
        assert environment["CHAINRULE_PORT"] == port


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    (group,) = load("alerts.yml")["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) > 0
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_grafana_is_provisioned_with_the_dashboard_and_where_its_numbers_are() -> None:
    found = mounts("grafana")
    assert found["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    (source,) = load("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    name, _, port = source["url"].removeprefix("http://").partition(":")
    assert SERVICES[name]["ports"] == [f"127.0.0.1:${{CHAINRULE_PROMETHEUS_PORT:-{port}}}:{port}"]
    (provider,) = load("grafana/provisioning/dashboards/chainrule.yml")["providers"]
    assert found[f"{provider['options']['path']}/chainrule.json"] == "./deploy/grafana/chainrule.json"


def test_monitoring_starts_only_where_it_is_asked_for() -> None:
    assert {name for name, each in SERVICES.items() if each.get("profiles") == ["monitoring"]} == {
        "prometheus",
        "grafana",
    }
