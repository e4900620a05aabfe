"""The page on the Python client is true: its blocks run, in order."""

import re
from pathlib import Path

import pytest

from support.running_service import DATA, ROOT, RunningService

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]


def test_every_block_of_the_page_runs(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINRULE_URL", str(service.http.base_url))
    monkeypatch.setenv("CHAINRULE_API_KEY", service.key)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    Path("examples").mkdir()
    Path("examples/data").symlink_to(DATA)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/client.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/client.md", "exec"), names)
    told = capsys.readouterr().out
    assert "layers[0].units -3 an integer from 1 to 1,000,000" in told
    assert "target: got colour, expected a column of the data: weight, fuel, is_heavy" in told
