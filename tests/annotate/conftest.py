from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def annotator_server() -> ModuleType:
    """``tools/annotator_server.py``: the chat server with a simulated model."""
    path = Path(__file__).parents[2] / "tools" / "annotator_server.py"
    spec = importlib.util.spec_from_file_location("annotator_server", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["annotator_server"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(annotator_server: ModuleType, demo_folders: tuple[Path, Path]) -> Iterator[object]:
    """A server whose model knows the 7 groups of the session's validation data."""
    simulated = annotator_server.Simulated(keep_bodies=True)
    simulated.learn(demo_folders[1])
    with annotator_server.serve(simulated):
        yield simulated
