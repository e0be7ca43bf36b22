from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotated_log import ListedGroups, Simulated, demo_rows, simulated_lines, write_log

from rewardkit.annotate.fold import FoldRules
from rewardkit.annotate.fold_figures import FoldFigures, fold_figures
from rewardkit.annotate.folding import Folded, fold
from rewardkit.annotate.log import LogLine
from rewardkit.annotate.overall import OverallRule
from rewardkit.annotate.read_back import Logged, read_back
from rewardkit.data.comparisons import comparisons_of
from rewardkit.data.demo.voters import FAULT_DIMENSIONS
from rewardkit.data.group import Group
from rewardkit.data.index import Scale
from rewardkit.errors import DataError, UserError

SCALES = {name: Scale(1, 5, True) for name in FAULT_DIMENSIONS}
HOSTILE = "</script><img src=x onerror=alert(1)> {{7*7}} \x1b[31m"


@pytest.fixture(scope="session")
def groups() -> ListedGroups:
    """Twelve groups of the embedded dataset, with people's votes and answers."""
    return demo_rows(12, answers=True)


def read(folder: Path, groups: ListedGroups) -> Logged:
    return read_back(folder, groups.ids, FAULT_DIMENSIONS)


def folded(
    folder: Path, lines: list[LogLine], groups: ListedGroups, rules: FoldRules | None = None
) -> tuple[Folded, list[Group]]:
    """Writes a log and folds it; the groups of the shards by the order of the input."""
    logged = read(write_log(folder, lines), groups)
    found = fold(groups, logged, folder / "shards", rules or FoldRules(), scales=SCALES, people={}, draws=50)
    assert found.index is not None
    return found, [found.index.record(n) for n in range(len(found.index))]


def test_one_annotator_is_written_as_it_spoke(tmp_path: Path, groups: ListedGroups) -> None:
    lines = simulated_lines(groups, [Simulated("gpt", rationale=HOSTILE)])
    found, written = folded(tmp_path, lines, groups)
    assert (found.written, found.complete, found.without, found.bad) == (12, 12, 0, [])
    group, line = written[3], lines[3]
    assert [
        (a.dimension, a.candidate, a.by, a.value, a.rationale) for a in group.answers if a.dimension != "overall"
    ] == [(s.dimension, s.candidate, "gpt", s.value, HOSTILE) for s in line.scores]
    for dimension in FAULT_DIMENSIONS:  # what is given is what the one rule derives from answers
        derived = comparisons_of(replace(group, comparisons=()), dimension)
        assert comparisons_of(group, dimension) == derived and len(derived) == 6
    overall = {a.candidate: a.value for a in group.answers if a.dimension == "overall"}
    of = {k: [s.value for s in line.scores if s.candidate == k] for k in range(4)}
    assert overall == {k: np.mean(values) for k, values in of.items()}
    assert {a.by for a in group.answers if a.dimension == "overall"} == {"overall=mean"}
    assert found.index is not None and found.index.scales["aesthetic"] == Scale(1, 5, True)


def test_provenance_names_everything_and_peoples_labels_stay_apart(tmp_path: Path, groups: ListedGroups) -> None:
    _, written = folded(tmp_path, simulated_lines(groups, [Simulated("gpt")], repeats=2), groups)
    group = written[0]
    assert group.provenance["source"] == "demo"
    made = group.provenance["annotation"]
    assert made["rules"] == {"aggregate": "mean", "overall": "mean", "tie_eps": 0.0, "answers": "annotators"}
    assert len(made["log"]) == 64 and len(made["requests"]) == 2
    request = made["requests"][1]
    assert (request["annotator"], request["model"], request["server_model"]) == ("gpt", "model-of-gpt", "served-gpt")
    assert (request["repeat"], request["seed"], request["template"]) == (1, 0, "0123456789abcdef")
    assert request["order"] == made["requests"][0]["order"][::-1] and request["text"] == "raw answer of gpt"
    assert made["labels_of_the_input"] == {"comparisons": 30, "answers": 48}
    assert {a.by for a in group.answers} == {"gpt", "overall=mean"}
    assert len(groups.rows[0][0].comparisons) == 30  # untouched


def test_several_annotators_with_all_that_goes_wrong(tmp_path: Path, groups: ListedGroups) -> None:
    crew = [
        Simulated("a", not_applicable=lambda place, k, d: place == 0 and d == "harmlessness" and k == 1),
        Simulated("b", mode="per_image", outcome=lambda place, repeat: "invalid" if place == 1 else "ok"),
        Simulated("c", outcome=lambda place, repeat: "refused" if repeat else "ok"),
    ]
    lines = [line for line in simulated_lines(groups, crew, repeats=2) if line.group != groups.ids[5]]
    refused_all = [
        replace(line, outcome="refused", scores=()) if line.group == groups.ids[6] else line for line in lines
    ]
    rules = FoldRules(aggregate="dawid_skene", answers="aggregated")
    found, written = folded(tmp_path, refused_all, groups, rules)
    assert (found.groups, found.written, found.without) == (12, 10, 2)
    assert [group.id for group in written] == [id for n, id in enumerate(groups.ids) if n not in (5, 6)]
    answers = [a for group in written for a in group.answers if a.dimension == "aesthetic"]
    assert {a.by for a in answers} == {"aggregate=dawid_skene"} and len(answers) == 40
    assert all(a.rationale == "It is as it is." for a in answers)
    counts = found.counts["aesthetic"]
    # b: one group, four images, twice. c: ten groups once. And all of one group.
    assert counts.invalid == 8 and counts.refused == 4 * 10 + (8 + 8 + 8)
    assert counts.pairs == counts.strict + counts.ties + counts.dropped == 60
    assert set(found.people) == {"aggregate=dawid_skene", "a", "b", "c"}


def test_an_na_is_kept_and_drops_the_aspect_from_both(tmp_path: Path, groups: ListedGroups) -> None:
    who = Simulated("a", not_applicable=lambda place, k, d: place == 0 and d == "fidelity" and k == 1)
    found, written = folded(tmp_path, simulated_lines(groups, [who]), groups)
    assert [a.value for a in written[0].answers if a.dimension == "fidelity" and a.candidate == 1] == ["NA"]
    assert len(comparisons_of(written[0], "fidelity")) == 3 and len(comparisons_of(written[0], "overall")) == 6
    assert 1 not in {a.candidate for a in written[0].answers if a.dimension == "overall"}
    assert (found.counts["fidelity"].missing, found.counts["fidelity"].not_applicable) == (3, 1)
    assert found.complete == 12


def test_the_same_answers_in_another_order_are_the_same_bytes(tmp_path: Path, groups: ListedGroups) -> None:
    lines = simulated_lines(groups, [Simulated("a"), Simulated("b", mode="per_image")], repeats=2)
    turned = [replace(line, seconds=9.0, time="2027-01-01T00:00:00Z") for line in reversed(lines)]
    digests = []
    for name, of in (("one", lines), ("two", turned)):
        folded(tmp_path / name, of, groups, FoldRules("bradley_terry", OverallRule("dominance")))
        shards = sorted((tmp_path / name / "shards").glob("*.tar"))
        digests.append([hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards])
    assert digests[0] == digests[1] and digests[0]


def test_another_rule_replaces_the_shards_but_nothing_of_others(tmp_path: Path, groups: ListedGroups) -> None:
    lines = simulated_lines(groups, [Simulated("a")])
    folded(tmp_path, lines, groups)
    found, written = folded(tmp_path, lines, groups, FoldRules(overall=OverallRule("none")))
    assert found.written == 12 and all("overall" not in group.dimensions for group in written)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UserError, match="holds no groups of an annotation"):
        fold(groups, read(tmp_path, groups), tmp_path / "mine", FoldRules(), scales=SCALES, people={}, draws=0)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_images_that_changed_are_refused(tmp_path: Path, groups: ListedGroups) -> None:
    lines = simulated_lines(groups, [Simulated("a")])
    lines[2] = replace(lines[2], images=("0" * 64, *lines[2].images[1:]))
    with pytest.raises(DataError, match="not the one that a was shown"):
        folded(tmp_path, lines, groups)
    assert not (tmp_path / "shards").exists()


def test_a_prompt_that_was_prepared_is_the_groups_and_the_raw_one_stays(tmp_path: Path, groups: ListedGroups) -> None:
    lines = [replace(line, prompt="polished") for line in simulated_lines(groups, [Simulated("a")])]
    _, written = folded(tmp_path, lines, groups)
    assert written[0].prompt == "polished" and written[0].slots["raw_prompt"] == groups.rows[0][0].prompt


def test_a_log_without_any_score_is_refused(tmp_path: Path, groups: ListedGroups) -> None:
    refusing = Simulated("a", outcome=lambda place, repeat: "refused")
    with pytest.raises(UserError, match="no request brought scores"):
        folded(tmp_path, simulated_lines(groups, [refusing]), groups)


def figures_of(folder: Path, lines: list[LogLine], groups: ListedGroups) -> FoldFigures:
    found, _ = folded(folder, lines, groups)
    return fold_figures(read(folder, groups), found, FoldRules(), flip_rates="", draws=50)


def test_the_figures_say_what_happened(tmp_path: Path, groups: ListedGroups) -> None:
    crew = [Simulated("a", noise=0.2), Simulated("b", noise=1.5, first_bonus=1.0)]
    stray = replace(simulated_lines(groups, crew)[0], group="not in the input", request="f" * 32)
    found = figures_of(tmp_path, [*simulated_lines(groups, crew, repeats=2), stray], groups)
    json.dumps(found.as_record(), allow_nan=False)
    assert (found.groups, found.with_scores, found.complete, found.unknown) == (12, 12, 12, 1)
    assert found.outcomes == {"a": {"ok": 24}, "b": {"ok": 24}}
    assert sum(found.histogram["a"]["aesthetic"].values()) == 96
    assert found.models["b"] == ["model-of-b", "served-b"]
    assert found.consistency["a"]["aesthetic"].alpha.value > found.consistency["b"]["aesthetic"].alpha.value  # type: ignore[operator]
    assert found.position["b"]["aesthetic"].slots[0].shift.value > 0.2  # type: ignore[operator]
    with_people = found.people["a"]["aesthetic"]
    assert with_people.half.value > 0.85 and with_people.flips.matched == 72 and with_people.of == "comparisons"  # type: ignore[operator]
    assert "overall" in found.people["aggregate=mean"]
    assert len(found.correlations) == 6 and found.correlations[0].n == 48
