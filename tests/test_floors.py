"""Imports point down the floors of the house, rooms of one floor form no circle, and light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

FLOORS = {
    "__init__": 0,  # the package itself: a version and lazy attributes
    "_torchvision": 0,
    "errors": 0,
    "config": 1,
    "data": 2,
    "models": 3,
    "objectives": 3,
    "metrics": 3,
    "benchmark": 4,
    "annotate": 4,
    "rewards": 4,
    "report": 4,
    "sweeps": 4,
    "modules": 5,
    "engine": 6,
    "callbacks": 7,
    "recipes": 7,
    "commands": 8,
    "cli": 9,
    "__main__": 9,
}
LAZY = {("__init__", "models")}
"""``rewardkit.load``: a lazy attribute, imported when it is asked for."""

HEAVY = ("torch", "torchvision", "lightning", "transformers", "open_clip", "timm", "webdataset", "deepspeed", "wandb",
         "peft", "pandas", "pyarrow", "matplotlib", "numpy", "PIL", "tensorboard", "torchmetrics")  # fmt: skip
TOP_LEVEL_ONLY_MAPPED = ("callbacks", "recipes")


def python_files(*folders: str) -> list[Path]:
    """Every Python file of the repository's folders."""
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """The name that a file is imported by: ``callbacks/ema.py`` is ``rewardkit.callbacks.ema``."""
    parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
    if parts[0] in TOP_LEVEL_ONLY_MAPPED:
        parts.insert(0, "rewardkit")
    return ".".join(parts)


def room_of(name: str) -> str:
    """The room of a module of rewardkit: the second part of its name."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(source: str, module: str) -> Iterator[str]:
    """Full names of everything that a module imports, also inside functions; ``from a import b`` gives ``a.b``."""
    package = module.rsplit(".", 1)[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def rooms_imported(source: str, module: str) -> set[str]:
    """Rooms of rewardkit that a module imports from."""
    found = set()
    for name in imported(source, module):
        if name.split(".")[0] == "rewardkit":
            room = room_of(name)
            # `from rewardkit import __version__` names no room.
            found.add(room if room in FLOORS else "__init__")
    return found


def wrong_imports(source: str, module: str) -> list[str]:
    """What is wrong with a module's imports."""
    room = room_of(module)
    if room not in FLOORS:
        return [f"{module} stands in no room of the house"]
    problems = [
        f"{module} (floor {FLOORS[room]}) imports from {other} (floor {FLOORS[other]})"
        for other in sorted(rooms_imported(source, module))
        if FLOORS[other] > FLOORS[room] and (room, other) not in LAZY
    ]
    return problems + top_level_mapped(source, module)


def top_level_mapped(source: str, module: str) -> list[str]:
    """Imports of ``callbacks`` or ``recipes`` as top-level names: second copies of the classes."""
    return [
        f"{module} imports {name}; write rewardkit.{name}"
        for name in imported(source, module)
        if name.split(".")[0] in TOP_LEVEL_ONLY_MAPPED
    ]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """One line for each room that can reach itself."""
    found = []
    for start in graph:
        reached: set[str] = set()
        front = set(graph[start])
        while front:
            room = front.pop()
            reached.add(room)
            front |= graph.get(room, set()) - reached
        if start in reached:
            found.append(f"{start} imports itself in a circle through {', '.join(sorted(reached))}")
    return found


PACKAGE = python_files("rewardkit", "callbacks", "recipes")


def test_there_are_modules_to_look_at() -> None:
    assert len(PACKAGE) > 40
    assert {room_of(module_name(path)) for path in PACKAGE} >= {"config", "data", "models", "callbacks", "recipes"}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_point_down(path: Path) -> None:
    assert wrong_imports(path.read_text(encoding="utf-8"), module_name(path)) == []


def test_rooms_of_one_floor_form_no_circle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in FLOORS}
    for path in PACKAGE:
        module = module_name(path)
        room = room_of(module)
        others = rooms_imported(path.read_text(encoding="utf-8"), module) - {room, "__init__"}
        graph[room] |= {other for other in others if FLOORS[other] == FLOORS[room]}
    assert circles(graph) == []


@pytest.mark.parametrize("path", python_files("tests", "tools", "docs"), ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_no_second_copy_of_callbacks(path: Path) -> None:
    module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    assert top_level_mapped(path.read_text(encoding="utf-8"), module) == []


def test_nothing_asks_lightning_for_the_number_of_steps() -> None:
    name = "estimated_stepping_" + "batches"  # it builds the loader before the loop's state is restored
    files = PACKAGE + python_files("tools")
    assert [str(path) for path in files if name in path.read_text(encoding="utf-8")] == []


def test_config_imports_nothing_heavy() -> None:
    for path in python_files("rewardkit/config"):
        roots = {name.split(".")[0] for name in imported(path.read_text(encoding="utf-8"), module_name(path))}
        assert roots.isdisjoint(HEAVY), f"{path.name} imports {roots & set(HEAVY)}"


@pytest.mark.parametrize(
    "module", ["rewardkit", "rewardkit.config.schema", "rewardkit.config.recipes", "rewardkit.cli", "rewardkit.report"]
)
def test_import_stays_light(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(sorted(set(sys.modules) & set({HEAVY!r}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_report_is_written_without_what_trains() -> None:
    """Their imports would take longer than the page."""
    code = (
        "import sys, rewardkit.report.page, rewardkit.commands.picture_folders, rewardkit.commands.run_options\n"
        "print(' '.join({'torch', 'lightning', 'transformers', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("source", "module", "word"),
    [
        ("from rewardkit.engine.loggers import MetricsCSV", "rewardkit.data.shards", "engine"),
        ("def f():\n    import rewardkit.models.clip", "rewardkit.config.schema", "models"),
        ("from ..commands import fit", "rewardkit.engine.train", "commands"),
        ("from rewardkit import callbacks", "rewardkit.report.page", "callbacks"),
        ("import importlib\nimportlib.import_module('rewardkit.cli')", "rewardkit.commands.fit", "cli"),
        ("import callbacks.guards", "rewardkit.commands.fit", "write rewardkit.callbacks"),
        ("from recipes import x", "rewardkit.commands.fit", "write rewardkit.recipes"),
        ("import os", "rewardkit.helpers.text", "no room"),
    ],
)
def test_a_wrong_import_is_found(source: str, module: str, word: str) -> None:
    problems = wrong_imports(source, module)
    assert len(problems) == 1
    assert word in problems[0]


def test_a_right_import_is_not_complained_of() -> None:
    source = "import torch\nfrom rewardkit import __version__\nfrom rewardkit.data.batch import Batch\nfrom .x import y"
    assert wrong_imports(source, "rewardkit.models.clip") == []


def test_a_circle_is_found() -> None:
    assert circles({"models": {"metrics"}, "metrics": {"objectives"}, "objectives": set()}) == []
    found = circles({"models": {"metrics"}, "metrics": {"objectives"}, "objectives": {"models"}})
    assert len(found) == 3
