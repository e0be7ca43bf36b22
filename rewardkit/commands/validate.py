"""``validate``: preference accuracy of one or more models on the same held-out data, beside the baselines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.layout import RunLayout
from rewardkit.config.verbs import ValidateOptions
from rewardkit.errors import EXIT_DONE, UserError

if TYPE_CHECKING:
    from rewardkit.data.datamodule import PreferenceData
    from rewardkit.data.predictions import Predictions
    from rewardkit.models.load import LoadedReward


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("validate model=RUN|BUNDLE|CHECKPOINT[,…] data.val=FOLDER[,…] protocol=NAME", ValidateOptions)


def run(arguments: list[str]) -> int:
    """Scores the data with each model and prints a table for each, then the paired differences."""
    options = compose(ValidateOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    if not options.model:
        raise UserError("name one or more models: model=RUN|BUNDLE|CHECKPOINT[,…]")
    _fill_in_data(options)
    from rewardkit.commands.open_model import open_model
    from rewardkit.data.predictions import write_predictions
    from rewardkit.engine.train import quieten
    from rewardkit.metrics.breakdown import evaluation_rows

    quieten(None)
    console = Console()
    record: dict[str, Any] = {"protocol": options.protocol, "models": {}}
    tables: dict[str, dict[str, Predictions]] = {}
    for number, name in enumerate(options.model):
        model = open_model(name, device=options.device)
        data = _data(options, model, console)
        for set_name, predictions in score_sets(model, data, options.data.dimension_map, console).items():
            rows = evaluation_rows(predictions, options.protocol, draws=options.bootstrap)
            tables.setdefault(set_name, {})[name] = predictions
            record["models"].setdefault(name, {})[set_name] = rows
            console.print(rows_table(rows, f"{name} on {set_name} ({options.protocol}, 95 % over groups)"))
            if options.out is not None:
                write_predictions(Path(options.out) / f"{number}-{set_name}.parquet", predictions)
        if data.bad_samples:
            console.print(f"{data.bad_samples} samples could not be read and are not in the numbers above")
    record["differences"] = _differences(tables, options, console)
    if options.out is not None:
        target = Path(options.out) / "results.json"
        target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        console.print(f"wrote {target} and the predictions beside it", highlight=False, soft_wrap=True)
    return EXIT_DONE


def score_sets(
    model: LoadedReward, data: PreferenceData, dimension_map: Mapping[str, str | None], console: Console
) -> dict[str, Predictions]:
    """The predictions table of every validation set; scores are logits, as in a run's own tables."""
    import torch

    from rewardkit.data.predictions import PredictionRows

    found = {}
    for name, loader in zip(data.val_names, data.val_dataloader(), strict=True):
        rows = PredictionRows(model.dimensions, dimension_map=dimension_map)
        with torch.no_grad(), Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            for batch in bar.track(loader, total=len(loader), description=f"scoring {name}"):
                scores = model.model(batch.to(model.model.logit_scale.device)).scores.cpu()  # [N, D]
                for n, record in enumerate(batch.records):
                    mine = scores[batch.group == n].tolist()
                    rows.add(record.group, mine, number=record.number, key=record.key, source=name, place=record.place)
        found[name] = rows.predictions()
    return found


def rows_table(rows: list[dict[str, Any]], title: str) -> Table:
    """Accuracies with interval and counts, beside the baselines."""
    from rewardkit.commands.summary import share

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("dimension", no_wrap=True)
    for column in (
        "accu-\nracy",
        "95 %",
        "n",
        "ties",
        "one\nperson",
        "which\ngenerator",
        "listed\nfirst",
        "bal-\nanced",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    beside = ("annotator_agreement", "which_generator", "list_position", "generator_balanced")
    for row in rows:
        table.add_row(
            row["dimension"],
            share(row["value"]),
            f"{share(row['low'])}–{share(row['high'])}",
            str(row["comparisons"]),
            str(row["ties"]),
            *(share(row[key]) for key in beside),
        )
    return table


def _fill_in_data(options: ValidateOptions) -> None:
    """Takes the validation data of the first model that is a run, where none is given."""
    if options.data.val:
        return
    from rewardkit.commands.open_model import options_of_run

    for name in options.model:
        path = Path(name)
        for root in (path, path.parent, path.parent.parent):
            if RunLayout(root).exists:
                theirs = options_of_run(root)
                options.data.val = theirs.data.val
                options.data.embedded = theirs.data.embedded
                options.data.dimension_map = options.data.dimension_map or theirs.data.dimension_map
                return
    raise UserError("name the data to validate on: data.val=FOLDER[,…] (only a run knows its own)")


def _data(options: ValidateOptions, model: LoadedReward, console: Console) -> PreferenceData:
    from rewardkit.commands.build_data import sources
    from rewardkit.data.datamodule import PreferenceData

    return PreferenceData(
        train=[],
        val=sources(options.data.val, "val", options.data.embedded, options.cache, console),
        transform=model.model.transform,
        tokenizer=model.model.tokenizer,
        dimensions=model.dimensions,
        dimension_map=options.data.dimension_map,
        val_groups=options.data.batch_groups,
        workers=options.data.workers,
        max_bad_fraction=options.data.max_bad_fraction,
    )


def _differences(
    tables: dict[str, dict[str, Predictions]], options: ValidateOptions, console: Console
) -> list[dict[str, Any]]:
    """Paired differences of every two models on the dimensions that both judge; printed and returned."""
    from rewardkit.metrics.comparison import paired_difference
    from rewardkit.metrics.judged_pairs import judged_pairs

    found = []
    for set_name, by_model in tables.items():
        pairs = {name: judged_pairs(predictions) for name, predictions in by_model.items()}
        for first, second in combinations(by_model, 2):
            for dimension in sorted({*by_model[first].dimensions} & {*by_model[second].dimensions}):
                ours, theirs = (pairs[n][pairs[n]["dimension"] == dimension] for n in (first, second))
                difference = paired_difference(ours, theirs, options.protocol, draws=options.bootstrap)
                found.append(
                    {"set": set_name, "first": first, "second": second, "dimension": dimension, **asdict(difference)}
                )
                console.print(
                    f"{set_name}, {dimension}: {first} minus {second} = {difference.value:+.3f} "
                    f"({difference.low:+.3f} to {difference.high:+.3f}, paired over {difference.groups} groups)"
                    if difference.low is not None and difference.high is not None
                    else f"{set_name}, {dimension}: {first} minus {second} = {difference.value:+.3f}",
                    highlight=False,
                    soft_wrap=True,
                )
    return found
