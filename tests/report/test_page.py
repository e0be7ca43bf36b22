"""The page: complete, self-contained, escaped, and written for runs in every state."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewardkit.config.layout import RunLayout
from rewardkit.data.predictions import read_predictions
from rewardkit.errors import UserError
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import accuracy
from rewardkit.report.page import changed_options, describe_selection, write_report
from rewardkit.report.run_files import Option, RunFiles

VOID = {"meta", "img", "br", "wbr", "line", "circle"}


class Outline(HTMLParser):
    """The text of a page, the elements left open, and everything that it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(layout: RunLayout) -> tuple[str, Outline]:
    page = layout.report.read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == [], f"left open: {outline.open}"
    return page, outline


@pytest.fixture(scope="module")
def whole(drawn_runs: tuple[RunLayout, RunLayout, Path]) -> tuple[str, Outline]:
    layout, other, shards = drawn_runs
    best = {"overall": 0.91, "prompt_following": 0.98}
    layout.summary.write_text(
        json.dumps(
            {
                "protocol": "strict_micro",
                "step": 600,
                "validations": 6,
                "ceilings": {"best": best, "ignoring_prompt": {"overall": 0.79}},
                "wall_s": 187.3,
                "command": "python -m rewardkit fit recipe=hpsv2 seed=3 run.name=first",
            }
        ),
        encoding="utf-8",
    )
    layout.data_errors.write_text(
        '{"shard": "s.tar", "key": "k7", "reason": "the image is cut off"}\n', encoding="utf-8"
    )
    assert write_report(layout, against=other, folders=[shards]) == layout.report
    return read(layout)


def test_page_loads_nothing(whole: tuple[str, Outline]) -> None:
    page, outline = whole
    assert all(target.startswith(("data:image/jpeg;base64,", "#")) for target in outline.loads)
    assert outline.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    assert "@import" not in page and "xlink" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "default-src 'none'" in page


def test_page_is_small(whole: tuple[str, Outline]) -> None:
    assert len(whole[0]) < 3_000_000


def test_page_tells_the_accuracy_that_the_table_gives(
    whole: tuple[str, Outline], drawn_runs: tuple[RunLayout, RunLayout, Path]
) -> None:
    pairs = judged_pairs(read_predictions(drawn_runs[0].predictions / "000600-val.parquet"))
    found = accuracy(pairs[pairs["dimension"] == "overall"], "strict_micro")
    assert found.value is not None and found.low is not None and found.high is not None
    text = whole[1].text
    assert f"Held-out preference accuracy, overall {found.value:.3f}" in text
    assert f"95 % interval {found.low:.3f} to {found.high:.3f}" in text
    assert f"{found.comparisons:,} in {found.groups} groups" in text


@pytest.mark.parametrize(
    "words",
    [
        "Best reachable 0.910",
        "Best without reading the prompt 0.790",
        "strict_micro",
        "3 min 7 s",
        "the best of 6 validations by overall accuracy",
        "slightly optimistic",
        "Against hpsv2/second",
        "Learning rate",
        "Throughput",
        "Held-out accuracy (strict_micro)",
        "style=",
        "lantern-xl vs",
        "Margins",
        "Model against annotators",
        "Accuracy against margin threshold",
        "Reliability before and after temperature",
        "People's margin",
        "all agree",
        "By generator, overall",
        "Surest agreements",
        "What differs",
        "Curves of both",
        "Worst disagreements",
        "People prefer",
        "the image is cut off",
        "git checkout 0f3c9a5b7d2e4f60718293a4b5c6d7e8f9012345",
        "python -m rewardkit fit recipe=hpsv2 seed=3 run.name=first",
        "seed 3 command line",
        "lightning 2.6.6",
    ],
)
def test_page_holds(whole: tuple[str, Outline], words: str) -> None:
    assert words in whole[1].text


def test_page_shows_pictures(whole: tuple[str, Outline]) -> None:
    pictures = [target for target in whole[1].loads if target.startswith("data:")]
    assert len(pictures) >= 12
    assert "picture not found" not in whole[1].text


def test_a_run_that_has_only_begun(layout: RunLayout, write: SimpleNamespace) -> None:
    layout.root.mkdir(parents=True)
    layout.config.write_text("seed: 0\n", encoding="utf-8")
    write_report(layout)
    text = read(layout)[1].text
    assert "No validation yet" in text and "not finished" in text


def test_an_unfinished_run_shows_its_curves_and_latest_validation(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=5000)
    write.predictions(layout, step=2000)
    write.predictions(layout, step=4000, seed=1)
    write_report(layout)
    text = read(layout)[1].text
    assert "Weights of step 4,000, the latest validation of a run that is not finished." in text
    assert "picture not found" in text or "Worst disagreements" not in text


def test_everything_from_files_is_escaped(layout: RunLayout, write: SimpleNamespace) -> None:
    evil = "<script>alert(1)</script>\"'&amp;<img src=x onerror=y>"
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout, dimensions=(evil,), prompt=evil, source=evil, generator=evil)
    write.metrics(layout.metrics, [(n, f"train/{evil}", float(n)) for n in range(3)])
    layout.data_errors.write_text(json.dumps({"shard": evil, "key": evil, "reason": evil}), encoding="utf-8")
    layout.overrides.write_text(f"run.name={evil}\n", encoding="utf-8")
    layout.environment.write_text(json.dumps({evil: evil, "git_revision": evil}), encoding="utf-8")
    write.summary(layout, command=evil, step=100, validations=1, accuracies={evil: {"value": 0.5}})
    write_report(layout)
    page, outline = read(layout)
    assert "script" not in outline.tags
    assert "<script" not in page and "<img src=x" not in page
    assert "<script>alert(1)</script>" in outline.text


def test_a_prompt_of_100_000_letters_and_lone_surrogates(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout, prompt="long " * 20_000)
    write.summary(layout, command="python \udcff", step=100)
    write_report(layout)
    assert len(read(layout)[0]) < 3_000_000


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_dimensions(layout: RunLayout, write: SimpleNamespace, count: int) -> None:
    dimensions = tuple(f"dimension_{n}" for n in range(count))
    write.run(layout, dimensions=dimensions, steps=600)
    write.predictions(layout, dimensions=dimensions)
    write_report(layout)
    page, outline = read(layout)
    assert all(dimension in outline.text.replace("_ ", "_") for dimension in dimensions)
    assert len(page) < 3_000_000


def test_non_finite_metrics_and_scores_are_said(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    losses = [(n, "train/loss", math.nan if n in (7, 8) else 1 / n) for n in range(1, 20)]
    write.metrics(layout.metrics, [*losses, (1, "train/lr", math.inf)])
    write.predictions(layout, infinite=True)
    write_report(layout)
    text = read(layout)[1].text
    assert "total was not finite at 2 logged steps, first at step 7" in text
    assert "lr was not finite once, first at step 1" in text
    assert "1 scores are missing or not finite" in text


def test_thousands_of_steps_make_no_large_page(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=200_000)
    write_report(layout)
    assert len(read(layout)[0]) < 400_000


def test_the_summary_goes_before_what_the_table_gives(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout)
    said = {"overall": {"value": 0.123, "low": 0.111, "high": 0.135, "n_comparisons": 4321, "n_groups": 99}}
    write.summary(layout, step=100, validations=1, accuracies=said, baselines={"overall": {"annotator": 0.777}})
    write_report(layout)
    text = read(layout)[1].text
    assert "overall 0.123 95 % interval 0.111 to 0.135" in text and "4,321 in 99 groups" in text and "0.777" in text
    assert "the only validation" in text


def test_a_run_whose_predictions_are_gone(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.summary(layout, step=100, validations=1, accuracies={"overall": {"value": 0.61, "low": 0.5, "high": 0.7}})
    write_report(layout)
    text = read(layout)[1].text
    assert "overall 0.610" in text and "Worst disagreements" not in text


def test_two_validation_sets_are_told_apart(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    for name, seed in (("alpha", 0), ("beta", 1)):
        write.predictions(layout, name=name, seed=seed, source=name)
    first, second = ({"accuracies": {"overall": {"value": value}}} for value in (0.234, 0.876))
    write.summary(layout, step=100, validations=1, sets={"beta": second, "alpha": first}, **second)
    write_report(layout)
    text = read(layout)[1].text
    assert "overall on beta 0.876" in text
    assert text.index("Accuracy by dimension on beta") < text.index("Accuracy by dimension on alpha")
    assert "0.234" in text


def test_votes_that_are_all_ties(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout)
    path = layout.predictions / "000100-val.labels.parquet"
    import pandas as pd

    labels = pd.read_parquet(path).assign(votes_first=0.0, votes_second=0.0, votes_tie=3.0)
    labels.to_parquet(path)
    write_report(layout)
    assert "No comparison counts under strict_micro" in read(layout)[1].text


def test_no_generators_and_no_tags(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout, generator=None)
    write_report(layout)
    assert "Pair of generators" not in read(layout)[1].text


def test_against_needs_something_in_common(layout: RunLayout, write: SimpleNamespace) -> None:
    other = RunLayout(layout.root.with_name("other"))
    for run in (layout, other):
        write.run(run, dimensions=("overall",), steps=50)
    with pytest.raises(UserError, match="the run has no predictions"):
        write_report(layout, against=other)
    write.predictions(layout)
    with pytest.raises(UserError, match="the other run has no predictions"):
        write_report(layout, against=other)
    write.predictions(other, source="elsewhere")
    with pytest.raises(UserError, match="no comparison of the same dimension in common"):
        write_report(layout, against=other)
    with pytest.raises(UserError, match="no such folder"):
        write_report(layout, against=RunLayout(layout.root.with_name("nowhere")))
    assert not layout.report.exists()


def test_against_itself_there_is_no_difference(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=50)
    write.predictions(layout)
    write_report(layout, against=layout)
    assert "+0.000 +0.000 to +0.000 1.000 50.0 %" in read(layout)[1].text


def test_changed_options_with_and_without_origins() -> None:
    options = [
        Option("seed", "0", "default"),
        Option("optim.lr", "0.1", "command line"),
        Option("data.train", "[x]", ""),
    ]
    options.append(Option("trainer.max_steps", "4000", ""))
    assert [option.key for option in changed_options(options)] == ["optim.lr", "data.train"]


def test_home_folders_are_not_told() -> None:
    option = Option("data.train", f"[{Path.home()}/x]", "command line")
    assert str(Path.home()) not in changed_options([option])[0].value


def test_selection_without_validation() -> None:
    assert describe_selection(RunFiles("a"), []) == ""


def test_no_scratch_file_is_left(drawn_runs: tuple[RunLayout, RunLayout, Path], whole: tuple[str, Outline]) -> None:
    assert not list(drawn_runs[0].root.glob(".*"))
    assert re.search(r"Written by rewardkit \d", whole[1].text)
