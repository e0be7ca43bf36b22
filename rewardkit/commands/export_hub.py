"""``export hub=ORG/NAME``: shows what would go out, or sends it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewardkit.config.verbs import ExportOptions
from rewardkit.engine.disclosure import public_value
from rewardkit.models.bundle_record import RECORD, read_record
from rewardkit.models.sharing import Outgoing, public_copy, upload


def share(folder: Path, options: ExportOptions, record: Mapping[str, Any]) -> None:
    """Sends a folder that ``export`` wrote, or with ``dry_run=true`` shows what would go out.

    Args:
        folder: What was written.
        options: Of ``export``; ``hub`` is set.
        record: Of the model, as ``bundle.json`` has it; of a bundle its own is taken.
    """
    assert options.hub is not None
    console = Console()
    if (folder / RECORD).is_file():
        record = read_record(folder)
    with tempfile.TemporaryDirectory(prefix="rewardkit-") as scratch:
        clean = Path(scratch) / "out"
        files = public_copy(
            folder,
            clean,
            name=options.hub,
            record=public_value(record),
            form=options.to,
            license_=options.license,
            places=[folder.resolve(), *([Path(options.model).resolve()] if options.model else [])],
        )
        _show(files, options, console)
        if options.license is None:
            console.print("note: no licence is stated; add for example license=apache-2.0", highlight=False)
        if options.dry_run:
            console.print("Nothing was sent. The card, README.md:\n", highlight=False)
            console.print(Text((clean / "README.md").read_text(encoding="utf-8")), soft_wrap=True)
            return
        address = upload(
            clean,
            options.hub,
            private=options.private,
            update=options.update,
            message=f"Upload with rewardkit {record['versions'].get('rewardkit', '')}".strip(),
        )
    console.print(f"sent to {address}", highlight=False, soft_wrap=True)


def _show(files: list[Outgoing], options: ExportOptions, console: Console) -> None:
    verb = "would go" if options.dry_run else "goes"
    kind = "private" if options.private else "public"
    console.print(Text(f"What {verb} to {options.hub} ({kind} where it is new)", style="bold"))
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for file in files:
        table.add_row(Text(file.path), f"{file.size:,}")
    table.add_row(f"{len(files)} files", f"{sum(file.size for file in files):,}", style="bold")
    console.print(table)
