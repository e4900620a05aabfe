"""Peers: found where they are installed, run by themselves, and left out where they are not."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peer import OURS, PEERS, Peer
from benchmarks.records import BenchmarkFailed
from benchmarks.training import BATCHES, US, absent, outcome

PYTHON = Path(sys.executable)


def peer(folder: Path, script: str) -> Peer:
    path = folder / "peer.py"
    path.write_text(script)
    return Peer("a peer", "json", path)


def every_batch(*paces: float) -> dict[int, list[float]]:
    return {batch_size: list(paces) for batch_size in BATCHES}


def test_a_peer_is_run_by_the_first_python_that_has_its_library(tmp_path: Path) -> None:
    known = Peer("known", "json", tmp_path)
    assert known.interpreter([tmp_path / "no-python", PYTHON]) == PYTHON


def test_a_peer_that_is_not_installed_has_no_python_and_is_said_to_be_left_out(tmp_path: Path) -> None:
    stranger = Peer("Stranger", "no_such_library", tmp_path)
    assert stranger.interpreter([PYTHON]) is None
    assert absent([stranger], {}) == ["Stranger: not installed, left out (`make bench-peers`)"]
    assert absent([stranger], {stranger: PYTHON}) == []


def test_a_peer_that_is_left_out_has_neither_figures_nor_goals() -> None:
    theirs = PEERS[1].name
    found = outcome({US: every_batch(110.0, 90.0), theirs: every_batch(50.0, 45.0)}, [])
    assert {figure.column for figure in found.figures} == {US, theirs}
    assert [(goal.what, goal.measured.value) for goal in found.goals] == [
        (f"against {theirs}, batch {batch_size:,}", pytest.approx(2.1)) for batch_size in BATCHES
    ]


def test_a_peer_gets_the_problem_and_none_of_our_settings_of_blas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        monkeypatch.setenv(name, "1")
    script = f"""
import json, os, sys
print("a line that is not the answer")
used = [name for name in {OURS} if name in os.environ]
print(json.dumps({{"samples_per_s": json.loads(sys.argv[1])["rows"], "used": str(used), "version": "1"}}))
"""
    pace = peer(tmp_path, script).train(PYTHON, {"rows": 7.0})
    assert (pace.samples_per_s, json.loads(pace.used)) == (7.0, [])


def test_a_peer_that_fails_is_a_failure_that_tells_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="exit code 1: RuntimeError: no threads"):
        peer(tmp_path, "raise RuntimeError('no threads')").train(PYTHON, {})
