"""docs/options.md is what the schema says, and the schema of every command stands in it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from rewardkit.config import annotate_options, benchmark_options, data_options, sweep_options, verbs
from rewardkit.config.options import dataclass_in, leaves

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "docs" / "write_options.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_options", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{done.stderr} (make docs)"


def test_a_stale_page_is_found(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "options.md"
    monkeypatch.setattr(script, "PAGE", page)
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("optim.lr", "optim.rate"), encoding="utf-8")
    assert script.main(["--check"]) == 1


def test_every_command_is_in_the_page(script: ModuleType) -> None:
    assert {command.split()[0] for command in script.SCHEMAS} == set(verbs.VERBS)
    known = {
        schema
        for module in (verbs, data_options, sweep_options, annotate_options, benchmark_options)
        for name, schema in vars(module).items()
        if name.endswith("Options") and is_dataclass(schema)
    }
    nested = {dataclass_in(kind) for schema in known for kind in get_type_hints(schema).values()}
    assert known - nested == set(script.SCHEMAS.values()) - {script.FitOptions}


def test_each_key_has_a_row_with_its_text(script: ModuleType) -> None:
    page = script.options_page()
    for schema in script.SCHEMAS.values():
        for leaf in leaves(schema):
            assert leaf.text, f"{leaf.key} has no text"
            assert f"| `{leaf.key}` |" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)
