"""Callbacks of the user's own files, named by ``plugins=`` on the command line."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from rewardkit.errors import UserError


def load_plugins(paths: Sequence[str]) -> list[Callback]:
    """Runs each file and calls its function ``callbacks()``.

    Raises:
        UserError: A file is missing or has no such function.
    """
    made: list[Callback] = []
    for name in paths:
        path = Path(name)
        if not path.is_file():
            raise UserError(f"plugins: there is no file {name}")
        spec = importlib.util.spec_from_file_location(f"rewardkit_plugin_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise UserError(f"plugins: {name} is not a Python file (its name must end in .py)")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not callable(getattr(module, "callbacks", None)):
            raise UserError(f"plugins: {name} has no function callbacks() that returns a list of Lightning callbacks")
        made += module.callbacks()
    return made
