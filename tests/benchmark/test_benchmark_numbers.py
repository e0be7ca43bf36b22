"""Numbers of a result: HPS v2's golden tables, agreements, appended texts, people's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from rewardkit.benchmark.agreements import agreement_of_rewards
from rewardkit.benchmark.best_of import largest_n, numbers
from rewardkit.benchmark.human import read_human
from rewardkit.benchmark.prompts import Prompt, PromptSet
from rewardkit.benchmark.published_tables import published_rows, reference_rows
from rewardkit.benchmark.variants import appended_texts
from rewardkit.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "benchmark.json").read_text())


def _set(*prompts: tuple[str, str]) -> PromptSet:
    made = tuple(Prompt(key, f"text {key}", n, {"style": style}, {}, (key,)) for n, (key, style) in enumerate(prompts))
    return PromptSet("p", "prompts", made, ())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_golden_benchmark(case: dict[str, Any]) -> None:
    styles, values = [], []
    for s, (style, prompts) in enumerate(case["inputs"]["n_prompts"].items()):
        i = np.arange(prompts)
        of_style = 20 + 10 * ((i * 37 + s * 11) % 101) / 128
        of_style[case["inputs"]["missing_indices"][style]] = np.nan
        styles += [style] * prompts
        values.append(of_style)
    (row,) = published_rows({"g": np.concatenate(values)}, styles, reward="r", dimension="overall", draws=10)
    expected = case["expected"]
    assert row.average == pytest.approx(expected["average_of_all_scores"], abs=1e-7)
    assert row.n == expected["n_scores"] and list(row.styles) == list(expected["styles"])
    for style, numbers_of in expected["styles"].items():
        assert row.styles[style].mean == pytest.approx(numbers_of["mean"], abs=1e-7)
        assert row.styles[style].std == pytest.approx(numbers_of["std"], abs=1e-8)
        assert row.styles[style].n == numbers_of["n_images"]


def test_golden_drawbench() -> None:
    (case,) = GOLDEN["drawbench"]
    i = np.arange(case["inputs"]["n_prompts"])
    scores = 15 + 20 * ((i * 29) % 83) / 128
    (row,) = published_rows({"g": scores}, ["drawbench"] * len(i), reward="r", dimension="overall", draws=10)
    assert row.average == pytest.approx(case["expected"]["mean"], abs=1e-7)


def test_published_tables_are_whole() -> None:
    v2, v21 = reference_rows("v2"), reference_rows("v2.1")
    assert len(v2) == len(v21) == 22 and {row.generator for row in v2} == {row.generator for row in v21}
    for row in (*v2, *v21):
        assert len(row.styles) == 4 and abs(sum(row.styles.values()) / 4 - row.average) < 0.02


def test_agreement_within_prompts_is_the_mean_of_kendalls() -> None:
    generator = np.random.default_rng(0)
    ours = {name: generator.integers(0, 4, 30).astype(float) for name in "abcd"}
    theirs = {name: generator.integers(0, 4, 30).astype(float) for name in "abcd"}
    ours["a"][3] = np.nan
    found = {(a.level, a.metric): a for a in agreement_of_rewards(ours, theirs, (("x", "o"), ("y", "o")), draws=50)}
    taus, same, pairs = [], 0, 0
    for n in range(30):
        names = [name for name in "abcd" if not np.isnan(ours[name][n])]
        mine, other = [ours[name][n] for name in names], [theirs[name][n] for name in names]
        tau = kendalltau(mine, other).statistic
        taus += [] if np.isnan(tau) else [tau]
        for i in range(len(names)):
            for j in range(i):
                product = (mine[i] - mine[j]) * (other[i] - other[j])
                pairs, same = pairs + (product != 0), same + (product > 0)
    assert found["prompts", "kendall"].value == pytest.approx(np.mean(taus))
    assert found["prompts", "kendall"].prompts == len(taus)
    assert found["prompts", "pairs"].value == pytest.approx(same / pairs)
    both = [~np.isnan(ours[name]) for name in "abcd"]
    means = [[side[name][use].mean() for name, use in zip("abcd", both, strict=True)] for side in (ours, theirs)]
    assert found["generators", "kendall"].value == pytest.approx(kendalltau(*means).statistic)


def test_texts_are_appended_by_style() -> None:
    prompts = _set(("a", "photo"), ("b", "anime"))
    assert appended_texts("in oil", prompts) == ["text a in oil", "text b in oil"]
    assert appended_texts({"photo": ", 35mm"}, prompts) == ["text a, 35mm", "text b"]
    with pytest.raises(UserError, match="it must be a text"):
        appended_texts({"photo": 3}, prompts)  # type: ignore[dict-item]


def test_numbers_of_best_of_n() -> None:
    assert numbers(4) == [1, 2, 4] and numbers(6) == [1, 2, 4, 6] and numbers(1) == [1]
    assert largest_n([4, 4, 4, 4, 1]) == 4 and largest_n([4, 4, 1, 1, 1]) == 1 and largest_n([]) == 0


def test_peoples_files(tmp_path: Path) -> None:
    prompts = _set(("x/1", "photo"), ("x/2", "photo"))
    file = tmp_path / "h.csv"
    file.write_text(
        "model,prompt_id,dimension,rating\ng,1,appeal,3\ng,1,appeal,5\ng,x/2,appeal,1\nh,9,fit,2\ng,,fit,2\n"
    )
    appeal, fit = read_human(file, ["g", "h"], prompts)
    assert (appeal.values, appeal.counts, appeal.unknown) == ({"g": 2.5}, {"g": 3}, ("prompt 9",))
    assert appeal.by_prompt["g"].tolist() == [4.0, 1.0] and not fit.by_prompt and fit.values == {"g": 2.0}
    file.write_text("generator,rank\ng,1\nh,2\n")
    (overall,) = read_human(file, ["g", "h"], prompts)
    assert [row.generator for row in overall.rows()] == ["g", "h"] and overall.values["h"] == -2
    for text, message in (
        ("generator,rank\ng,first\n", "row 1: rank is 'first'"),
        ("generator,rang\ng,1\n", "no column 'value'"),
        ("generator,rank\nz,1\n", "none of its rows is of a generator"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_human(file, ["g", "h"], prompts)
