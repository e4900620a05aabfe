"""What a program did to the files of a folder, as strace saw it, and the states in which a power cut may leave them.

Bytes are on disk once their file was flushed, names once their folder was. Of what was written since, all may be there,
or nothing, or anything but one write, or one write alone, or all with the last one torn.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["MARKS", "Operation", "can_trace", "cuts", "traced"]

MARKS = "marks"
"""A file in the folder: each line of JSON that the program writes to it is something that it has promised."""
CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,rename"
_FIRST = r'(?:AT_FDCWD<[^>]*>, "(?P<name>[^"]*)"|\d+<(?P<path>[^>]*)>|"(?P<plain>[^"]*)")'
_CALL = re.compile(rf"\d+ +(?P<call>\w+)\({_FIRST}(?P<rest>.*)\) = (?P<result>\d+).*")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


class Operation(NamedTuple):
    """`what` is create, write, truncate, flush, unlink, flush_folder or mark; `name` is of a file in the folder."""

    what: str
    name: str = ""
    offset: int = 0
    content: bytes = b""


def can_trace() -> bool:
    """Whether there is a strace that may trace."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode == 0


def traced(program: Path, folder: Path, trace: Path) -> list[Operation]:
    """Runs a Python program with the folder as its argument; what it did there, in order."""
    strace = ["strace", "-f", "-y", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-o", str(trace)]
    modules = {**os.environ, "PYTHONPATH": str(program.parents[1])}
    subprocess.run([*strace, sys.executable, str(program), str(folder)], check=True, env=modules)
    found: list[Operation] = []
    ends: dict[str, int] = {}  # of files that are only written to at their end
    for line in trace.read_text().splitlines():
        if (match := _CALL.fullmatch(line)) is not None:
            found += _operations(match, folder, ends)
    return found


def _operations(match: re.Match[str], folder: Path, ends: dict[str, int]) -> list[Operation]:
    call, rest = match["call"], match["rest"]
    path = Path(_decoded(match["name"] or match["path"] or match["plain"] or "").decode(errors="replace"))
    if path == folder:
        return [Operation("flush_folder")] if call in ("fsync", "fdatasync") else []
    if path.parent != folder:
        return []
    name = path.name
    if call == "openat":
        return [Operation("create", name)] if "O_CREAT" in rest else []
    if call in ("write", "pwrite64"):
        content = _decoded(rest.split('"')[1])
        if name == MARKS:
            return [Operation("mark", content=line) for line in content.splitlines()]
        offset = int(rest.rpartition(",")[2]) if call == "pwrite64" else ends.get(name, 0)
        ends[name] = offset + len(content)
        return [Operation("write", name, offset, content)]
    if call == "ftruncate":
        return [Operation("truncate", name, int(rest.rpartition(",")[2]))]
    if call in ("fsync", "fdatasync"):
        return [Operation("flush", name)]
    assert call == "unlink", f"{call} is not replayed"
    return [Operation("unlink", name)]


def _decoded(text: str) -> bytes:
    return bytes.fromhex("".join(_HEX.findall(text)))


# ---------------------------------------------------------------- replay
@dataclass
class _File:
    """What is on disk, and what was done since."""

    flushed: bytearray = field(default_factory=bytearray)
    since: list[Operation] = field(default_factory=list)

    def with_(self, operations: Sequence[Operation]) -> bytes:
        content = bytearray(self.flushed)
        for _, _, offset, written in operations:
            if operations and written:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(written)] = written
            else:  # truncated
                del content[offset:]
        return bytes(content)

    def after_a_cut(self) -> list[bytes]:
        since = self.since
        kept = [[], since, *([each] for each in since), *(since[:i] + since[i + 1 :] for i in range(len(since)))]
        if since and (size := len(since[-1].content)) > 1:
            torn = since[-1]._replace(content=since[-1].content[: size // 2])
            kept.append([*since[:-1], torn])
        return list(dict.fromkeys(self.with_(operations) for operations in kept))


def cuts(
    before: dict[str, bytes], record: Sequence[Operation], forgets: str = ""
) -> Iterator[tuple[list[Any], dict[str, bytes]]]:
    """Every power cut: what had been promised by then, and the files that may be found, each state once.

    `before` is what lay there, on disk; operations of the kind `forgets` are left out.
    """
    files = {name: _File(bytearray(content)) for name, content in before.items()}
    names = set(files)  # on disk
    promised: list[Any] = []
    seen: set[tuple[int, frozenset[tuple[str, bytes]]]] = set()
    current = dict(files)
    for operation in [Operation("begin"), *record]:
        _do(operation, forgets, current, files, names, promised)
        for state in _states(current, files, names):
            key = len(promised), frozenset(state.items())
            if key not in seen:
                seen.add(key)
                yield list(promised), state


def _do(
    operation: Operation,
    forgets: str,
    current: dict[str, _File],
    files: dict[str, _File],
    names: set[str],
    promised: list[Any],
) -> None:
    what, name = operation.what, operation.name
    if what == forgets:
        return
    if what == "mark":
        promised.append(json.loads(operation.content))
    elif what == "create" and name not in current:
        current[name] = _File()
    elif what in ("write", "truncate"):
        current[name].since.append(operation)
    elif what == "flush":
        current[name].flushed, current[name].since = bytearray(current[name].with_(current[name].since)), []
    elif what == "unlink":
        del current[name]
    elif what == "flush_folder":
        files.clear()
        files.update(current)
        names.clear()
        names.update(current)


def _states(current: dict[str, _File], on_disk: dict[str, _File], names: set[str]) -> Iterator[dict[str, bytes]]:
    """With the folder as it was flushed, and as it is; in each, one file at a time is in all states it may be in."""
    for view in (on_disk, current):
        whole = {name: file.with_(file.since) for name, file in view.items()}
        bare = {name: bytes(file.flushed) for name, file in view.items()}
        for name, file in view.items():
            for content in file.after_a_cut():
                yield {**whole, name: content}
                yield {**bare, name: content}
