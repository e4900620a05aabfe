"""Nothing that is read is run: no unpickling, no evaluating, no shell, in all that we ship, read off its sources.

What Ray does is its own: it pickles between our own processes, behind its token (docs/security.md).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [ROOT / "service", ROOT / "workers", ROOT / "shared", ROOT / "client" / "chainrule"]

MODULES = {  # that run what they read, or unpickle what comes through them
    *("_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "multiprocessing", "pickle", "shelve"),
    *("ray.cloudpickle", "ray.data", "torch"),
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "code.interact", "runpy.run_module", "runpy.run_path"),
    *("os.popen", "os.system", "pty.spawn", "asyncio.create_subprocess_shell"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "pandas.eval", "pyarrow.register_extension_type"),
    *("yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
}
METHODS = {"read_pickle", "recv_pyobj", "send_pyobj", "to_pickle", "PickleType"}  # whatever they are called on
STARTS_PROGRAMS = {
    "subprocess.Popen",
    *(f"subprocess.{name}" for name in ("call", "check_call", "check_output", "run")),
}
READS_ARRAYS = {"numpy.load", "numpy.lib.format.read_array"}
READS_YAML = {"yaml.load", "yaml.load_all"}
ONLY_CALLED = CALLS | READS_ARRAYS | READS_YAML
SAFE_LOADERS = {"yaml.CSafeLoader", "yaml.SafeLoader"}
IMPORTS_BY_NAME = {"client/chainrule/__init__.py"}  # its own modules, from a table, when they are first asked for


class Names:
    """What the names of one file stand for."""

    def __init__(self, tree: ast.AST) -> None:
        self._known: dict[str, str] = {}
        self.modules: dict[str, int] = {}
        self.classes: dict[str, list[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.modules[alias.name] = node.lineno
                    self._known[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self.modules |= {node.module: node.lineno, f"{node.module}.{alias.name}": node.lineno}
                    self._known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = [self.of(base) for base in node.bases]

    def of(self, node: ast.AST) -> str:
        """`numpy.load`, of `np.load`; "" of what is no name."""
        if isinstance(node, ast.Name):
            return self._known.get(node.id, node.id).removeprefix("builtins.")
        if isinstance(node, ast.Attribute):
            before = self.of(node.value)
            return f"{before}.{node.attr}".removeprefix("builtins.") if before else f".{node.attr}"
        return ""


def wrongs(source: str, file: str = "") -> Iterator[str]:
    """What could run, or unpickle, what it reads."""
    tree = ast.parse(source)
    names = Names(tree)
    for module, line in names.modules.items():
        if runs_what_it_reads(module):
            yield f"{file}:{line} imports {module}"
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            yield f"{file}:{node.lineno} uses {node.attr}"
        if isinstance(node, ast.Call) and (why := wrong_call(node, names, file)):
            yield f"{file}:{node.lineno} {why}"
        if isinstance(node, ast.Name | ast.Attribute) and node not in called and names.of(node) in ONLY_CALLED:
            yield f"{file}:{node.lineno} names {names.of(node)}, and may call it by another name"


def wrong_call(call: ast.Call, names: Names, file: str) -> str | None:
    name = names.of(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in CALLS:
        return f"calls {name}"
    if name == "importlib.import_module" and file not in IMPORTS_BY_NAME:
        module = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
        if module is None or runs_what_it_reads(str(module)):
            return "imports what a variable names" if module is None else f"imports {module}"
    if name in STARTS_PROGRAMS and not is_false(given.get("shell")):
        return "starts a program through a shell, or as **options may say"
    if name in READS_ARRAYS and ("allow_pickle" not in given or not is_false(given["allow_pickle"])):
        return f"calls {name} without allow_pickle=False"
    if name not in READS_ARRAYS and not is_false(given.get("allow_pickle")):
        return "allows pickle"
    if name in READS_YAML and not is_safe(given.get("Loader"), names):
        return f"calls {name} without a safe loader"
    return None


def runs_what_it_reads(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in MODULES)


def is_false(value: ast.AST | None) -> bool:
    """Whether an argument is not given, or False."""
    return value is None or (isinstance(value, ast.Constant) and value.value is False)


def is_safe(loader: ast.AST | None, names: Names) -> bool:
    """Whether a YAML loader makes plain data only: a safe one, or a class of this file that comes of one."""
    name = "" if loader is None else names.of(loader)
    return name in SAFE_LOADERS or bool(SAFE_LOADERS & set(names.classes.get(name, ())))


@pytest.mark.parametrize(
    "source",
    [
        *("import pickle", "from pickle import loads", "import joblib as j", "from ray import data", "import torch.nn"),
        *("def f():\n    import dill", "from ray.cloudpickle import loads", "import multiprocessing.connection"),
        *("eval('1')", "f = exec", "import builtins\nbuiltins.eval('1')", "compile('1', '', 'eval')", "__import__(x)"),
        *("import importlib\nimportlib.import_module(x)", "import pandas as pd\npd.read_pickle(x)", "s.recv_pyobj()"),
        *("import numpy as np\nnp.load(x)", "import numpy as np\nnp.load(x, allow_pickle=True)", "f(allow_pickle=x)"),
        *("import importlib\nimportlib.import_module('pickle')", "import numpy as np\nf = np.load\nf(x)"),
        *("from yaml import unsafe_load\nmap(unsafe_load, x)", "g(eval)"),
        *("from numpy import load\nload(x)", "import numpy\nnumpy.lib.format.read_array(x)"),
        *(
            "import yaml\nyaml.load(x)",
            "import yaml\nyaml.load(x, Loader=yaml.Loader)",
            "import yaml\nyaml.full_load(x)",
        ),
        *(
            "import os\nos.system(x)",
            "import subprocess\nsubprocess.run(x, shell=True)",
            "from os import popen\npopen(x)",
        ),
        *("from subprocess import Popen as P\nP(x, shell=y)", "import sqlalchemy as sa\nsa.PickleType"),
    ],
)
def test_what_runs_what_it_reads_is_seen(source: str) -> None:
    assert list(wrongs(source))


@pytest.mark.parametrize(
    "source",
    [
        *("import json\njson.loads(x)", "import numpy as np\nnp.load(x, allow_pickle=False)", "import ray"),
        *("import yaml\nyaml.safe_load(x)", "import yaml\nclass L(yaml.SafeLoader): pass\nyaml.load(x, Loader=L)"),
        *("import subprocess\nsubprocess.run([x])", "import re\nre.compile(x)", "model.eval()"),
        *("import importlib\nimportlib.import_module('json')", "from safetensors.numpy import load\nload(x)"),
    ],
)
def test_what_only_reads_is_not_complained_of(source: str) -> None:
    assert not list(wrongs(source))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_nothing_that_is_read_is_run_or_unpickled(package: Path) -> None:
    files = [path for path in sorted(package.rglob("*.py")) if "node_modules" not in path.parts]
    assert len(files) > 5
    found = [wrong for path in files for wrong in wrongs(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())]
    assert found == []
