"""Each command does its work, says errors in a line, and ends with the exit code that the help promises."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from chainrule.__main__ import main
from chainrule.cli import app
from chainrule.session import ExitCode, Session
from support.fake_service import FakeService, event, log_line, problem

Run = Callable[..., Any]
SPEC = "name: adult-income\ndataset: adult\nlayers: [{type: dense, units: 8}]\n"


@pytest.fixture
def run(service: FakeService) -> Run:
    """Runs the command line against the service in memory."""

    def run(*arguments: object) -> Any:
        session = Session("http://service", service.transport())
        result = CliRunner(env={"COLUMNS": None}).invoke(app, [str(argument) for argument in arguments], obj=session)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def spec(service: FakeService, run: Run, people: Path, tmp_path: Path) -> Path:
    """A spec whose data set is there."""
    assert run("datasets", "add", people, "--name", "adult").exit_code == ExitCode.OK
    path = tmp_path / "adult.yaml"
    path.write_text(SPEC)
    return path


# ---------------------------------------------------------------- data sets
def test_datasets_are_added_listed_shown_and_removed(run: Run, people: Path) -> None:
    added = run("datasets", "add", people)
    assert (added.exit_code, added.stdout) == (0, "ds_01  people version 1: 3 rows, 4 columns\n")
    assert added.stderr == "column 'zip' is read as category: row 3 has 'x'\n"
    listed = run("datasets", "list").stdout
    assert "ds_01" in listed
    assert "people" in listed
    shown = run("datasets", "show", "people").stdout
    assert all(word in shown for word in ("workclass", "category", "38.6", "28 × 28 uint8", "Private"))
    assert "column 'zip' is read as category: row 3 has 'x'" in shown
    assert run("datasets", "rm", "people").stdout == "removed ds_01: people version 1\n"
    assert run("datasets", "show", "people").exit_code == ExitCode.NOT_FOUND


def test_json_of_data_sets_is_the_services_own(run: Run, service: FakeService, people: Path) -> None:
    assert json.loads(run("datasets", "add", people, "--json").stdout) == service.datasets["people"]
    assert json.loads(run("datasets", "list", "--json").stdout)["items"] == [service.datasets["people"]]
    assert json.loads(run("datasets", "show", "people", "--json").stdout) == service.datasets["people"]


def test_options_of_an_upload_reach_the_service(run: Run, service: FakeService, people: Path) -> None:
    run("datasets", "add", people, "--no-header", "--types", "zip:category,a:b:text", "--missing", "-999")
    sent = dict(service.requests[-1].url.params)
    assert sent == {"name": "people", "header": "false", "types": "zip:category,a:b:text", "missing": "-999"}
    wrong = run("datasets", "add", people, "--types", "zip")
    assert (wrong.exit_code, wrong.stderr[:13]) == (ExitCode.REFUSED, "error: --type")


def test_a_data_set_in_use_is_not_removed(run: Run, service: FakeService, spec: Path) -> None:
    run("train", spec)
    refused = run("datasets", "rm", "adult")
    assert refused.exit_code == ExitCode.CONFLICT
    assert refused.stderr == "error: Conflict: data set ds_01 is used by job_01, which has not ended\n"


# ---------------------------------------------------------------- train
def test_train_submits_the_spec_with_its_settings(run: Run, service: FakeService, spec: Path) -> None:
    result = run("train", spec, "--set", "workers=3", "--set", "layers[0].units=16")
    assert (result.exit_code, result.stdout) == (0, "job_01  adult-income: queued\n")
    sent = service.jobs["job_01"]["spec"]
    assert (sent["workers"], sent["layers"]) == (3, [{"type": "dense", "units": 16}])


def test_the_same_idempotency_key_gives_the_same_job(run: Run, spec: Path) -> None:
    first = run("train", spec, "--idempotency-key", "k", "--json")
    again = run("train", spec, "--idempotency-key", "k", "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)


def test_each_wrong_field_is_one_line(run: Run, spec: Path) -> None:
    result = run("train", spec, "--set", "layers[0].units=-3", "--set", "dataset=nowhere")
    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr.splitlines() == [
        "error: layers[0].units: got -3, expected an integer from 1 to 1,000,000",
        "error: dataset: got nowhere, expected the id or name of a data set",
    ]
    assert result.stdout == ""


def test_a_dry_run_trains_nothing_and_shows_the_plan(run: Run, service: FakeService, spec: Path) -> None:
    result = run("train", spec, "--dry-run")
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("parameters", "9,025", "100.0 MB", "adult-income"))
    assert json.loads(run("train", spec, "--dry-run", "--json").stdout)["parameters"] == 9025
    assert service.jobs == {}


def test_a_spec_that_cannot_be_read_is_one_line_with_its_place(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("seed: 1\nseed: 2\n")
    result = run("train", path)
    assert (result.exit_code, result.stderr) == (2, f"error: {path}, line 2, column 1: the key 'seed' stands twice\n")
    assert run("train", tmp_path / "nowhere.yaml").exit_code == ExitCode.REFUSED


# ---------------------------------------------------------------- watching
METRICS = {"step": 127, "epoch": 1, "train_loss": 0.5, "samples_per_s": 141000.0}


def stream(service: FakeService, end: str) -> None:
    service.end = end
    service.streams = [
        [
            event(1, "state", {"state": "running"}),
            event(2, "progress", {"fraction": 0.5, "epoch": 1, "epochs": 2, "step": 1, "steps": 2, "eta_s": 1.0}),
            event(3, "metrics", METRICS),
            event(4, "state", {"state": end, "reason": "diverged at step 7" if end == "failed" else None}),
        ]
    ]


@pytest.mark.parametrize(("end", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_train_follow_ends_as_the_job_ends(run: Run, service: FakeService, spec: Path, end: str, code: int) -> None:
    stream(service, end)
    result = run("train", spec, "--follow")
    assert result.exit_code == code
    assert f"adult-income: {end}" in result.stdout
    assert "adult-income: epoch 1, step 127: train_loss 0.5, 141,000 samples/s" in result.stderr
    assert ("diverged at step 7" in result.stderr) == (end == "failed")


def test_watch_as_json_is_one_event_a_line(run: Run, service: FakeService) -> None:
    service.add_job({}, "succeeded")
    stream(service, "succeeded")
    result = run("watch", "job_01", "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["state", "progress", "metrics", "state"]
    assert lines[2]["data"] == METRICS


def test_ctrl_c_leaves_the_job_running_and_says_so(service: FakeService) -> None:
    service.add_job({}, "running")

    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            raise KeyboardInterrupt
        return service.handle(request)

    session = Session("http://service", httpx.MockTransport(interrupted))
    result = CliRunner(env={"COLUMNS": None}).invoke(app, ["watch", "job_01"], obj=session)
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "job_01 goes on without being watched" in result.stderr
    assert service.jobs["job_01"]["state"] == "running"


# ---------------------------------------------------------------- jobs
def test_jobs_are_listed_with_their_progress_and_loss(run: Run, service: FakeService) -> None:
    service.add_job({"name": "first"}, "succeeded")
    service.add_job({"name": "[red]second\x1b[31m", "labels": {"team": "risk"}}, "running")
    lines = run("jobs").stdout.splitlines()
    assert lines[0].split() == ["id", "name", "state", "done", "loss", "age"]
    assert lines[2].split()[:5] == ["job_02", "[red]second�[31m", "running", "42%", "0.33"]
    assert lines[3].split()[:3] == ["job_01", "first", "succeeded"]
    only = json.loads(run("jobs", "--state", "running", "--label", "team=risk", "--limit", "5", "--json").stdout)
    assert [job["id"] for job in only["items"]] == ["job_02"]
    assert dict(service.requests[-1].url.params) == {"state": "running", "label": "team=risk", "limit": "5"}
    run("jobs", "--name", "second", "--owner", "the nightly jobs")
    assert dict(service.requests[-1].url.params) == {"name": "second", "owner": "the nightly jobs", "limit": "50"}


def test_a_long_list_is_put_together_from_pages(run: Run, service: FakeService) -> None:
    service.page = 2
    for _ in range(5):
        service.add_job({})
    assert [job["id"] for job in json.loads(run("jobs", "--json").stdout)["items"]] == [
        f"job_0{n}" for n in (5, 4, 3, 2, 1)
    ]
    three = json.loads(run("jobs", "--limit", "3", "--json").stdout)
    assert ([job["id"] for job in three["items"]], three["next_cursor"]) == (["job_05", "job_04", "job_03"], "3")


def test_show_says_everything_of_a_job(run: Run, service: FakeService) -> None:
    service.add_job({"name": "adult", "batch_size": 256}, "succeeded")
    shown = run("show", "job_01").stdout
    for word in ("succeeded", "a" * 64, "SkylakeX", "batch_size", "the last 10 of 12", "2 CPUs are free"):
        assert word in shown
    assert "left" not in shown
    service.add_job({}, "running")
    assert "3.1 s left" in run("show", "job_02").stdout
    assert set(json.loads(run("show", "job_01", "--json").stdout)) == {"job", "metrics", "history"}


@pytest.mark.parametrize(("move", "state"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "queued")])
def test_a_job_is_moved_or_its_state_says_why_not(run: Run, service: FakeService, move: str, state: str) -> None:
    service.add_job({}, "running")
    service.add_job({}, "failed")
    assert run(move, "job_01").stdout == f"job_01  untitled: {state}\n"
    refused = run(move, "job_02")
    assert refused.exit_code == ExitCode.CONFLICT
    assert refused.stderr == f"error: Conflict: job job_02 is failed and cannot {move}\n"
    assert json.loads(run(move, "job_01", "--json").stdout)["id"] == "job_01"


def test_an_ended_job_is_removed(run: Run, service: FakeService) -> None:
    service.add_job({}, "succeeded")
    service.add_job({}, "running")
    assert run("rm", "job_01").stdout == "removed job_01\n"
    assert run("rm", "job_02").exit_code == ExitCode.CONFLICT
    assert list(service.jobs) == ["job_02"]


def test_a_log_is_printed_and_followed(run: Run, service: FakeService) -> None:
    service.add_job({"name": "adult-income"})
    printed = run("logs", "job_01", "--after", 2)
    assert (printed.exit_code, printed.stdout.splitlines()[0][19:]) == (0, " info    started on 2 CPUs")
    assert len(printed.stdout.splitlines()) == 1
    service.end = "failed"
    forged = log_line(4, "diverged\n\x1b[2J", "error")
    service.streams = [[event(4, "log", forged)], []]
    followed = run("logs", "job_01", "--follow")
    assert followed.stdout[19:] == " error   diverged\ufffd\ufffd[2J\n"
    service.streams = [[event(4, "log", forged)], []]
    assert json.loads(run("logs", "job_01", "-f", "--json").stdout) == forged


@pytest.mark.parametrize(
    "command", [["watch"], ["show"], ["logs"], ["cancel"], ["pause"], ["resume"], ["rm"], ["download"], ["predict"]]
)
def test_a_job_that_is_not_there_is_exit_code_3(run: Run, people: Path, command: list[str]) -> None:
    result = run(*command, "job_99", *([people] if command == ["predict"] else []))
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr.strip().splitlines() == ["error: Not Found: there is no job job_99"]


# ---------------------------------------------------------------- models
def test_predictions_of_a_csv_file_are_csv_in_a_pipe(run: Run, service: FakeService, people: Path) -> None:
    service.add_job({}, "succeeded")
    result = run("predict", "job_01", people)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "value,probability <=50K,probability >50K",
        "<=50K,0.9,0.1",
        "<=50K,0.9,0.1",
        ">50K,0.2,0.8",
    ]
    sent = json.loads(service.requests[-1].content)["rows"]
    assert sent[1:] == [{"age": None, "workclass": "Private"}, {"age": 52, "workclass": None}]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_predictions_go_to_a_file_by_its_suffix(
    run: Run, service: FakeService, people: Path, tmp_path: Path, suffix: str
) -> None:
    service.add_job({}, "succeeded")
    output = tmp_path / f"out{suffix}"
    result = run("predict", "job_01", people, "-o", output)
    assert (result.stdout, result.stderr) == ("", f"3 predictions in {output}\n")
    text = output.read_text()
    expected = json.loads(run("predict", "job_01", people, "--json").stdout)
    assert json.loads(text) == expected if suffix == ".json" else text.splitlines()[3] == ">50K,0.2,0.8"
    assert run("predict", "job_01", people, "-o", tmp_path / "out.xls").exit_code == ExitCode.REFUSED


def test_several_targets_make_several_columns(run: Run, service: FakeService, people: Path) -> None:
    service.add_job({}, "succeeded")
    values = [{"value": {"y1": number, "y2": -number}} for number in range(3)]
    model = service.handle(httpx.Request("GET", "http://service/v1/jobs/job_01/model"))
    service.answers = [model, httpx.Response(200, json={"predictions": values})]
    assert run("predict", "job_01", people).stdout.splitlines() == ["y1,y2", "0,0", "1,-1", "2,-2"]


def test_a_file_that_does_not_fit_the_model_is_refused_before_anything_is_asked(
    run: Run, service: FakeService, tmp_path: Path
) -> None:
    service.add_job({}, "succeeded")
    path = tmp_path / "rows.csv"
    path.write_text("age\n39\n")
    result = run("predict", "job_01", path)
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: {path}: the column workclass is missing; the model needs the columns age, workclass\n",
    )
    assert [request.method for request in service.requests] == ["GET"]


def test_a_job_without_a_model_cannot_predict_or_be_downloaded(run: Run, service: FakeService, people: Path) -> None:
    service.add_job({}, "running")
    for result in (run("predict", "job_01", people), run("download", "job_01")):
        assert result.exit_code == ExitCode.CONFLICT
        assert result.stderr == "error: Conflict: job job_01 is running; it has no model yet\n"


def test_a_model_is_downloaded_where_it_is_asked_for(run: Run, service: FakeService, tmp_path: Path) -> None:
    service.add_job({}, "succeeded")
    path = tmp_path / "m.safetensors"
    assert run("download", "job_01", "-o", path).stdout == f"{path}: {path.stat().st_size:,} bytes\n"
    refused = run("download", "job_01", "-o", tmp_path / "nowhere" / "m.safetensors")
    assert (refused.exit_code, "cannot be written" in refused.stderr) == (ExitCode.REFUSED, True)


# ---------------------------------------------------------------- keys
def test_keys_are_added_listed_and_revoked(run: Run, service: FakeService) -> None:
    added = run("keys", "add", "nightly", "--scope", "read", "--tenant", "risk", "--expires", "90d")
    assert added.stdout == "chainrule_secret\n"
    assert added.stderr == "key_00000000: read of risk, good until 2027-02-21T10:00:00Z\n"
    assert json.loads(run("keys", "list", "--json").stdout)["items"] == list(service.made_keys.values())
    assert all(word in run("keys", "list").stdout for word in ("key_00000000", "nightly", "risk", "2027-02-21"))
    assert run("keys", "revoke", "key_00000000").stdout == "revoked key_00000000\n"
    assert "revoked at" in run("keys", "list").stdout
    assert run("keys", "revoke", "key_1").exit_code == ExitCode.NOT_FOUND
    assert run("keys", "add", "x", "--expires", "soon").exit_code == 2
    assert json.loads(run("keys", "add", "x", "--json").stdout)["scopes"] == ["submit"]


# ---------------------------------------------------------------- webhooks
def test_webhooks_are_added_listed_tried_and_removed(run: Run, service: FakeService) -> None:
    added = run("webhooks", "add", "https://example.com/hook", "--event", "job.running", "--label", "team=a=b")
    assert added.stdout == "whsec_c2VjcmV0\n"
    assert added.stderr == "wh_00: job.running to https://example.com/hook\n"
    assert json.loads(service.requests[-1].content) == {
        "url": "https://example.com/hook", "events": ["job.running"], "labels": {"team": "a=b"},
    }  # fmt: skip
    assert json.loads(run("webhooks", "list", "--json").stdout)["items"] == list(service.webhooks.values())
    assert run("webhooks", "disable", "wh_00").stdout == "disabled wh_00\n"
    assert "disabled: by request" in run("webhooks", "list").stdout
    assert run("webhooks", "enable", "wh_00").stdout == "enabled wh_00\n"
    assert run("webhooks", "rotate-secret", "wh_00").stdout == "whsec_bmV3\n"
    assert run("webhooks", "ping", "wh_00").stdout.startswith("dlv_00 is being sent; see chainrule webhooks deliveries")
    service.add_delivery("failed", "no answer within 10 s")
    assert all(word in run("webhooks", "deliveries", "wh_00").stdout for word in ("pending", "no answer within 10 s"))
    failed = json.loads(run("webhooks", "deliveries", "wh_00", "--state", "failed", "--json").stdout)
    assert failed["items"] == service.deliveries[1:]
    assert run("webhooks", "redeliver", "wh_00", "dlv_01").stdout == "dlv_01 is being sent\n"
    assert run("webhooks", "remove", "wh_00").stdout == "removed wh_00\n"
    assert run("webhooks", "ping", "wh_00").exit_code == ExitCode.NOT_FOUND
    assert run("webhooks", "add", "https://example.com", "--label", "team").exit_code == 2


def test_a_key_is_read_from_a_file_and_never_an_argument(run: Run, service: FakeService, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("chainrule_mine\n")
    assert run("--key-file", path, "jobs").exit_code == 0
    assert service.requests[-1].headers["Authorization"] == "Bearer chainrule_mine"
    nothing = run("--key-file", tmp_path / "nowhere", "jobs")
    assert (nothing.exit_code, "expected a file that we may read" in nothing.stderr) == (ExitCode.REFUSED, True)


def test_a_refused_key_is_exit_code_6_and_says_what_to_do(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAINRULE_API_KEY", raising=False)
    service.answers = [problem(401, "Unauthorized", "got no key")]
    result = run("jobs")
    assert result.exit_code == ExitCode.NOT_ALLOWED
    assert result.stderr.startswith("error: Unauthorized: no key: found none for http://service, expected one in CHAIN")
    service.answers = [problem(403, "Forbidden", "the key key_1 has the scope read; this needs submit")]
    assert run("jobs").exit_code == ExitCode.NOT_ALLOWED


def test_a_signin_link_is_printed_with_the_address(run: Run) -> None:
    assert run("signin").stdout == "http://service/#signin=c0de\n"


# ---------------------------------------------------------------- the service
def test_versions_of_both_sides_are_printed(run: Run) -> None:
    assert run("--version").stdout.startswith("chainrule 0.")
    assert "service 0.1.0 at http://service" in run("version").stdout
    assert json.loads(run("version", "--json").stdout)["service"] == {"version": "0.1.0"}


def test_a_service_that_does_not_answer_is_exit_code_5(run: Run, service: FakeService) -> None:
    service.answers = [httpx.ConnectError("Connection refused")]
    result = run("jobs")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stderr.startswith(
        "error: no answer from http://service (Connection refused); is the service running?"
    )
    service.answers = [problem(500, "Internal Server Error", "a bug")]
    assert run("jobs").stderr == "error: Internal Server Error: a bug (request req_1)\n"


def test_the_cluster_is_shown_machine_by_machine(run: Run, service: FakeService) -> None:
    nodes = [
        {
            "id": "a",
            "address": "10.0.0.1",
            "cpus": 2.0,
            "cpus_free": 0.0,
            "memory_bytes": 8 << 30,
            "blas_kernel": "Zen",
        },
        {
            "id": "b",
            "address": "10.0.0.2",
            "cpus": 16.0,
            "cpus_free": 3.0,
            "memory_bytes": 1 << 35,
            "blas_kernel": None,
        },
    ]
    told = {"nodes": nodes, "cpus": 18, "cpus_free": 3, "blas_kernel": "Zen"}
    service.answers = [httpx.Response(200, json=told)] * 2
    _, _, first, second = run("cluster").stdout.splitlines()
    assert first.split() == ["10.0.0.1", "2", "0", "8.6", "GB", "Zen"]
    assert second.split() == ["10.0.0.2", "16", "3", "34.4", "GB", "unknown"]
    assert json.loads(run("cluster", "--json").stdout) == told


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    assert run("nosuch").exit_code == 2
    assert run("jobs", "--limit", "0").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "http://nowhere", "jobs"],
        ["jobs", "--url", "http://nowhere"],
        ["jobs", "--url=http://nowhere", "--limit", "5"],
        ["datasets", "list", "--key-file", "nothing", "--url", "http://nowhere"],
    ],
)
def test_which_service_is_told_before_the_command_or_behind_it(
    run: Run, service: FakeService, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nothing").write_text("cr_a_key\n")
    Path("nothing").chmod(0o600)
    service.answers = [httpx.ConnectError("Connection refused")]
    assert run(*arguments).stderr.startswith("error: no answer from http://nowhere")


def test_an_option_without_its_value_is_named(run: Run) -> None:
    assert "Invalid value for --url: it requires a value" in run("jobs", "--url").stderr


def test_help_tells_every_exit_code(run: Run) -> None:
    text = " ".join(run("--help").stdout.split())
    assert all(f"{int(code)} " in text.partition("Exit codes:")[2] for code in ExitCode)


def test_the_command_line_starts_without_http_tables_or_numbers(tmp_path: Path) -> None:
    """`chainrule serve` has 2 s until /healthz must answer, so nothing that it does not need is loaded before it."""
    code = (
        "import sys, chainrule.cli; print([n for n in ('httpx', 'yaml', 'rich', 'numpy', 'ray') if n in sys.modules])"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ctrl_c_while_it_loads_leaves_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "chainrule.cli", Loading("chainrule.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.INTERRUPTED
