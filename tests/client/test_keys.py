"""A client finds its key by itself, and sends the admin key of this machine to nobody else."""

import json
import os
from pathlib import Path

import pytest

from chainrule import Client, InvalidInput, Unauthorized
from chainrule.keys import find_key, read_key
from service.registration import registered
from support.fake_service import FakeService, problem

URL = "http://127.0.0.1:8400"


def write(folder: Path, key: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "admin.key").write_text(f"{key}\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of a user who has nothing yet, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def test_the_environments_key_comes_before_what_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "data", "found")
    assert find_key(URL, {**environment, "CHAINRULE_API_KEY": "given"}) == "given"
    assert find_key("http://elsewhere", {**environment, "CHAINRULE_API_KEY": "given"}) == "given"


@pytest.mark.parametrize("key", ["0815\n4711", "0815 4711", "k\u00e9y", "\x7f"])
def test_what_is_no_key_is_refused_and_not_repeated(
    service: FakeService, environment: dict[str, str], key: str
) -> None:
    with pytest.raises(InvalidInput, match=r"^key: got something else") as given:
        Client("http://service", key, transport=service.transport())
    with pytest.raises(InvalidInput, match=r"^CHAINRULE_API_KEY: got something else") as found:
        find_key(URL, {**environment, "CHAINRULE_API_KEY": key})
    assert not any(part in str(error.value) for part in key.split() for error in (given, found))
    with pytest.raises(InvalidInput, match=r"^key: got nothing"):
        Client("http://service", "\n", transport=service.transport())


def test_the_end_of_a_line_is_no_part_of_a_key(service: FakeService, environment: dict[str, str]) -> None:
    with Client("http://service", "mine\r\n", transport=service.transport()) as client:
        client.jobs()
    assert service.requests[-1].headers["Authorization"] == "Bearer mine"
    assert find_key(URL, {**environment, "CHAINRULE_API_KEY": "given\n"}) == "given"
    assert find_key(URL, {**environment, "CHAINRULE_API_KEY": "\n"}) is None


@pytest.mark.parametrize("content", ["one\ntwo", "one two", "k\u00e9y", "", "\n"])
def test_a_file_that_holds_something_else_than_a_key_holds_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    assert read_key(path) is None


@pytest.mark.parametrize("url", [URL, "http://localhost:8400", "http://[::1]:8400", "http://127.8.9.1"])
def test_the_key_of_a_local_service_is_found_beside_its_data(
    tmp_path: Path, environment: dict[str, str], url: str
) -> None:
    write(tmp_path / "data", "usual")
    assert find_key(url, environment) == "usual"
    folder = write(tmp_path / "named", "named")
    assert find_key(url, {**environment, "CHAINRULE_DATA_DIR": str(folder)}) == "named"


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere:8400",
        "http://10.0.0.1:8400",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "",
    ],
)
def test_the_key_of_a_local_service_is_for_no_other_host(tmp_path: Path, environment: dict[str, str], url: str) -> None:
    write(tmp_path / "data", "usual")
    assert find_key(url, environment) is None


def test_a_running_service_is_found_by_its_port_from_any_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    write(tmp_path / "data", "usual")
    folder = write(tmp_path / "elsewhere", "its-own")
    with registered(URL, 8400, folder):
        record = tmp_path / "state" / "chainrule" / "services" / "8400.json"
        assert record.stat().st_mode & 0o777 == 0o600
        assert json.loads(record.read_text()) == {"url": URL, "data_dir": str(folder), "pid": os.getpid()}
        assert find_key(URL, environment) == "its-own"
        assert find_key("http://127.0.0.1:8401", environment) == "usual"
        assert find_key("http://127.0.0.1:99999", environment) == "usual", "which is no port"
    assert not record.exists()


def test_what_a_killed_service_left_is_not_believed_and_removed_by_the_next(
    tmp_path: Path, environment: dict[str, str], dead_process: int
) -> None:
    folder = write(tmp_path / "elsewhere", "its-own")
    record = tmp_path / "state" / "chainrule" / "services" / "8400.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"url": URL, "data_dir": str(folder), "pid": dead_process}))
    assert find_key(URL, environment) is None
    with registered(URL, 8401, folder):
        assert not record.exists()


def test_a_service_runs_also_where_nothing_can_be_noted(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "state").write_text("no folder")
    with registered(URL, 8400, tmp_path):
        assert find_key(URL, environment) is None


def test_a_client_that_found_no_key_says_where_it_looked(service: FakeService, environment: dict[str, str]) -> None:
    service.answers = [problem(401, "Unauthorized", "got no key, expected Authorization: Bearer KEY")]
    with (
        Client(URL, transport=service.transport()) as client,
        pytest.raises(Unauthorized, match=f"^no key: found none for {URL}, expected one in CHAINRULE_API_KEY"),
    ):
        client.jobs()
    assert "Authorization" not in service.requests[-1].headers


def test_a_key_that_the_service_makes_later_is_found_then(
    service: FakeService, environment: dict[str, str], tmp_path: Path
) -> None:
    with Client(URL, transport=service.transport()) as client:
        client.ready()
        write(tmp_path / "data", "new")
        client.jobs()
    assert [request.headers.get("Authorization") for request in service.requests] == [None, "Bearer new"]


def test_a_key_that_was_given_is_sent_and_its_refusal_told_as_it_is(service: FakeService) -> None:
    with Client("http://service", "mine", transport=service.transport()) as client:
        client.jobs()
        assert service.requests[-1].headers["Authorization"] == "Bearer mine"
        service.answers = [problem(401, "Unauthorized", "the key key_1 was revoked")]
        with pytest.raises(Unauthorized, match="the key key_1 was revoked"):
            client.jobs()
