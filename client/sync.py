"""Writes the synchronous client from the asynchronous one: `make sync`.

Both have the same methods, with types of their own and documents that say what they do. They are written once, in
`chainrule/aio/`; what is left out or replaced here makes the files beside it, which tests compare.
"""

import re
import subprocess
import sys
from pathlib import Path

__all__ = ["FILES", "PACKAGE", "synchronous"]

PACKAGE = Path(__file__).resolve().parent / "chainrule"
FILES = ("client.py", "connection.py", "job.py", "page.py", "webhooks.py")
NOTE = "# Written by `make sync` from aio/{file}: change that file, not this one.\n"

REPLACED = {
    r"\basync (def|with|for)\b": r"\1",
    r"\bawait ": "",
    r'\bAwaitable\[("[^"]*"|\w+)\]': r"\1",
    r"\bAsync(Client|Connection|Job|Page|Webhooks|BaseTransport|Iterator)\b": r"\1",
    r"\b__a(enter|exit|iter)__\b": r"__\1__",
    r"\ba(close|iter_bytes|read)\b": r"\1",
    r"\basynccontextmanager\b": "contextmanager",
    r"\bchainrule\.aio\.": "chainrule.",
    r"\bAwaitable, ": "",
}


def synchronous(source: str, file: str) -> str:
    """The synchronous form of a module's source, formatted."""
    for pattern, replacement in REPLACED.items():
        source = re.sub(pattern, replacement, source)
    name = str(PACKAGE / file)  # so that ruff finds its settings
    options = ("--fix", "--unsafe-fixes", "--quiet", "--select", "I,F401,UP028")
    fixed = _ruff(NOTE.format(file=file) + source, "check", *options, name)
    return _ruff(fixed, "format", "--quiet", name)


def _ruff(source: str, command: str, *options: str) -> str:
    *options, name = options
    ruff = [sys.executable, "-m", "ruff", command, *options, "--stdin-filename", name, "-"]
    return subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    for each in FILES:
        source = (PACKAGE / "aio" / each).read_text(encoding="utf-8")
        (PACKAGE / each).write_text(synchronous(source, each), encoding="utf-8")
