"""``validate``: how well models agree with people on held-out data, by named protocols, beside the baselines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console

from rewardkit.commands.validate_display import WIDTH, print_validation
from rewardkit.commands.validate_models import (
    TUNES_ON_ITSELF,
    Judge,
    asks_questions,
    joined,
    joined_answers,
    read_table_sets,
    short_labels,
    take_tuning_tables,
)
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.layout import RunLayout
from rewardkit.config.protocols import TUNED, expand
from rewardkit.config.verbs import ValidateOptions
from rewardkit.errors import EXIT_DONE, UserError


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    usage = (
        "validate model=RUN|BUNDLE|CHECKPOINT|TABLE[,…] data.val=FOLDER[,…] protocol=NAME[,…] [data.tune=FOLDER[,…]]"
    )
    return verb_help(usage, ValidateOptions)


def run(arguments: list[str]) -> int:
    """Scores the data with each model, writes the results, prints each table, the matrix, and the differences."""
    options = compose(ValidateOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    if not options.model:
        raise UserError("name one or more models: model=RUN|BUNDLE|CHECKPOINT|TABLE.parquet[,…]")
    protocols = _protocols(options)
    judges = [Judge(name, label) for name, label in zip(options.model, short_labels(options.model), strict=True)]
    if not all(judge.is_table for judge in judges):
        _fill_in_data(options)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    tunes = any(name in TUNED or name == "calibration" for name in protocols) or any(map(asks_questions, judges))
    if options.data.tune and not tunes:
        console.print("note: data.tune is not used, no protocol that was asked for tunes anything", highlight=False)
        options.data.tune = []
    _collect(judges, options, console, tunes=bool(options.data.tune))
    from rewardkit.metrics.evaluate import evaluate

    results: dict[str, dict[str, list[dict[str, Any]]]] = {
        judge.label: {
            name: evaluate(predictions, protocols, tuning=judge.tuning, draws=options.bootstrap)
            for name, predictions in judge.sets.items()
        }
        for judge in judges
    }
    from rewardkit.commands.validate_answers import (
        PRINTED,
        answer_gains,
        judge_answers,
        print_answers,
        write_answer_files,
    )

    answered = [judge_answers(judge, options.bootstrap) for judge in judges if judge.answers]
    compared, answers = _differences(judges, protocols, options.bootstrap), answer_gains(judges, options.bootstrap)
    differences, shown = compared + answers, compared + [gain for gain in answers if gain["metric"] in PRINTED]
    if options.out is not None:  # before anything is printed: the reader of a pipe may go away
        _write(Path(options.out), options, protocols, judges, results, differences)
        write_answer_files(Path(options.out), judges, answered)
        from rewardkit.commands.validate_report import write_page_of

        write_page_of(Path(options.out), options, protocols, judges, results, answered, differences, arguments, console)
    print_answers(answered, console)
    print_validation(_compared(results, judges), shown, protocols, judges[0].sets, options.data.val, console)
    if options.out is not None:
        told = "" if all(judge.is_table for judge in judges) else ", and the predictions beside them"
        file, more = Path(options.out) / "results.json", ", answers.json, answers.csv" if answered else ""
        console.print(f"\nwrote {file}, results.csv and report.html{more}{told}", highlight=False, soft_wrap=True)
    return EXIT_DONE


def _protocols(options: ValidateOptions) -> tuple[str, ...]:
    """The protocols asked for; those that tune a threshold need data to tune it on.

    Raises:
        UserError: They have none, or the list is empty.
    """
    if not options.protocol:
        raise UserError("name one or more protocols: protocol=NAME[,…]")
    names = expand(options.protocol)
    if options.data.tune:
        return names
    if "all" in options.protocol:
        names = tuple(name for name in names if name not in TUNED or name in options.protocol)
    wanting = [name for name in names if name in TUNED]
    if wanting:
        raise UserError(
            f"protocol={','.join(options.protocol)}: {', '.join(wanting)} tune a threshold, which needs data other "
            "than those it is applied to: data.tune=FOLDER[,…]. Forms that tune on the evaluated set itself, as "
            "published, are tie_calibrated_micro_published and tie_calibrated_macro_published"
        )
    return names


def _collect(judges: Sequence[Judge], options: ValidateOptions, console: Console, *, tunes: bool) -> None:
    """Fills in every judge's predictions: tables are read, models score."""
    folders = take_tuning_tables(judges, options.data.tune) if tunes else []
    for judge in judges:
        if judge.is_table:
            read_table_sets(judge)
    models = [judge for judge in judges if not judge.is_table]
    if not models:
        if folders:
            raise UserError(
                f"data.tune={folders[0]}: nothing is scored here, since model= names predictions tables; name for each "
                "of them a table of predictions on the tuning data (validate out= writes them)"
            )
        return
    if tunes and not folders:
        raise UserError(f"data.tune names no folder for {models[0].name} to be tuned on")
    from rewardkit.commands.open_model import open_model
    from rewardkit.commands.validate_score import score_folders
    from rewardkit.engine.train import quieten

    quieten(None)
    _refuse_same_folders(folders, options.data.val)
    for judge in models:
        model = open_model(judge.name, device=options.device, questions=options.questions, base=options.base)
        found = score_folders(model, options.data.val, options, console, label=judge.label)
        judge.sets, judge.answers = found.predictions, found.answers
        if folders:
            found = score_folders(model, folders, options, console, label=judge.label)
            judge.tuning = joined(list(found.predictions.values()))
            judge.answer_tuning = joined_answers(list(found.answers.values()))
    _warn_of_overlap(folders, options, console)


def _compared(results: Mapping[str, Mapping[str, Any]], judges: Sequence[Judge]) -> dict[str, dict[str, Any]]:
    """The results without the sets of evaluators in which nothing is compared: those have answers alone."""
    alone = {(judge.label, name) for judge in judges for name in judge.answers if not len(judge.sets[name].labels)}
    return {
        label: {name: rows for name, rows in sets.items() if (label, name) not in alone}
        for label, sets in results.items()
    }


def _fill_in_data(options: ValidateOptions) -> None:
    """Takes the validation data of the first model that is a run, where none is given."""
    if options.data.val:
        return
    from rewardkit.commands.run_options import options_of_run

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


def _refuse_same_folders(tune: Sequence[str], val: Sequence[str]) -> None:
    for name in tune:
        if any(name == other or Path(name).resolve() == Path(other).resolve() for other in val):
            raise UserError(f"data.tune={name} is in data.val too: {TUNES_ON_ITSELF}")


def _warn_of_overlap(tune: Sequence[str], options: ValidateOptions, console: Console) -> None:
    """Says which prompts and images stand both in the tuning data and in the data that are judged."""
    if not tune:
        return
    from rewardkit.commands.find_sources import remote_access, sources
    from rewardkit.data.index import ShardIndex
    from rewardkit.data.open_index import open_index
    from rewardkit.data.overlap import overlap

    def indices(names: Sequence[str]) -> list[ShardIndex]:
        found = sources(names, "val", options.data.embedded, options.cache, console)
        return [open_index(source.path, remote_access(options.data.remote, options.cache)) for source in found]

    for ours in indices(tune):
        for theirs in indices(options.data.val):
            shared = overlap(ours, theirs)
            told = " and ".join(words for words in (shared.prompts, shared.images) if words)
            if told:
                text = f"note: {ours.place} (data.tune) and {theirs.place} (data.val) share {told}"
                console.print(text, highlight=False, soft_wrap=True)


def _differences(judges: Sequence[Judge], protocols: Sequence[str], draws: int) -> list[dict[str, Any]]:
    """Paired differences of every two models on the sets and dimensions that both judge."""
    from rewardkit.metrics.comparison import compare, in_words

    found: list[dict[str, Any]] = []
    for set_name in dict.fromkeys(name for judge in judges for name in judge.sets):
        for ours, theirs in combinations([judge for judge in judges if set_name in judge.sets], 2):
            tables, tuning = (ours.sets[set_name], theirs.sets[set_name]), (ours.tuning, theirs.tuning)
            for dimension, gain in compare(*tables, protocols, tuning=tuning, draws=draws):
                words = in_words(ours.label, theirs.label, gain)
                place = {"set": set_name, "first": ours.name, "second": theirs.name, "dimension": dimension}
                found.append({**place, **asdict(gain), "words": words})
    return found


def _write(
    folder: Path,
    options: ValidateOptions,
    protocols: Sequence[str],
    judges: Sequence[Judge],
    results: Mapping[str, Mapping[str, list[dict[str, Any]]]],
    differences: list[dict[str, Any]],
) -> None:
    """results.json, results.csv and every model's predictions tables, which can be validated again."""
    from rewardkit.data.predictions import write_predictions
    from rewardkit.engine.run_directory import write_text

    folder.mkdir(parents=True, exist_ok=True)
    keys = [j.name if options.model.count(j.name) == 1 else j.label for j in judges]
    record = {
        "protocol": ",".join(options.protocol),
        "protocols": list(protocols),
        "bootstrap": options.bootstrap,
        "tuned_on": list(options.data.tune),
        "labels": {key: judge.label for key, judge in zip(keys, judges, strict=True)},
        "models": {key: results[judge.label] for key, judge in zip(keys, judges, strict=True)},
        "differences": differences,
    }
    write_text(folder / "results.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    lines = [
        {"model": label, "set": name, **row}
        for label, sets in results.items()
        for name, rows in sets.items()
        for row in rows
    ]
    text = io.StringIO()
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    write_text(folder / "results.csv", text.getvalue())
    for number, judge in enumerate(judges):
        if not judge.is_table:
            for name, predictions in judge.sets.items():
                write_predictions(folder / f"{number}-{name}.parquet", predictions)
            if judge.tuning is not None:
                write_predictions(folder / f"{number}-tuning.parquet", judge.tuning)
