"""The parity tool: clean files pass, one wrong number is found, strange files are told apart from wrong ones."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
METRICS = (
    "inversion_score",
    "calc_imagereward",
    "ranking_groups",
    "pickscore_tie_threshold",
    "tie_calibration_pairs",
    "calibration",
    "correlation",
)
SHARED = os.environ.get("REWARDKIT_SHARED")


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT / "tools" / "parity"))
    import check

    yield check
    sys.path.remove(str(ROOT / "tools" / "parity"))


def tampered(folder: Path, name: str, change: Callable[[dict], None]) -> Path:
    content = json.loads((GOLDEN / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_the_golden_files_agree(tool: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([]) == 0
    printed = capsys.readouterr().out
    losses = [key for key in json.loads((GOLDEN / "losses.json").read_text()) if key != "meta"]
    kinds = [*losses, "preprocess_edge_cases", "clip_train_step", *METRICS, "benchmark", "drawbench", "evalalign"]
    assert len(losses) == 16
    for kind in kinds:
        line = next(line for line in printed.splitlines() if f" {kind} " in line)
        assert line.endswith("ok"), line
    uncovered = [line for line in printed.splitlines() if "not covered" in line and not line.startswith("7 files")]
    assert not uncovered and printed.endswith(f"0 mismatches, {0 if SHARED else 1} kinds not covered\n")


def test_strict_counts_what_is_not_covered(tool: Any, tmp_path: Path) -> None:
    content = json.loads((GOLDEN / "losses.json").read_text())
    kept = {key: content[key] for key in ("meta", "hps_pair_from_scores")}
    (tmp_path / "other_name.json").write_text(json.dumps(kept))
    assert tool.main(["--strict", str(tmp_path)]) == 0
    (tmp_path / "other_name.json").write_text(json.dumps({**kept, "a_kind_of_the_future": [{"name": "x"}]}))
    assert tool.main([str(tmp_path)]) == 0
    assert tool.main(["--strict", str(tmp_path)]) == 1


def set_at(*keys: Any, by: float = 1e-3) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        place: Any = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] += by

    return change


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("losses.json", set_at("hps_pair_from_scores", 0, "expected", "loss_sum"), "random/loss_sum"),
        ("losses.json", set_at("hps_pair_from_features", 3, "grad", "text_features", 1, 2), "grad text_features[1][2]"),
        (
            "losses.json",
            set_at("hps_preference_variable_n", 1, "grad", "scores_per_prompt", 1, 3),
            "scores_per_prompt[1]",
        ),
        (
            "losses.json",
            set_at("hps_ranking_hinge", 0, "expected", "corrected"),
            "three_images_perfect_order/corrected",
        ),
        ("losses.json", set_at("pickscore", 1, "expected", "loss"), "with_ties/loss"),
        (
            "losses.json",
            set_at("pickscore", 5, "grad", "text_features", 2, 1),
            "weighted_inbatch/grad text_features[2][1]",
        ),
        ("losses.json", set_at("imagereward_pair", 0, "expected", "loss_mean"), "loss_mean"),
        ("losses.json", set_at("videoalign", 1, "expected", "corrected"), "margin_mixed/corrected"),
        ("losses.json", set_at("videoalign", 5, "grad", "reward_B", 1, 2), "btt_mixed/grad reward_B[1][2]"),
        ("losses.json", set_at("videoalign", 4, "expected", "per_entry", 2, 1, 0), "reg_mixed/per_entry[2][1][0]"),
        ("losses.json", set_at("gaussian_score_bt", 2, "grad", "negE_wrt_sigma_z"), "2/grad negE_wrt_sigma_z"),
        ("losses.json", set_at("gaussian_score_bt", 3, "sigma_z"), "3/sigma_z"),
        ("losses.json", set_at("hpsv3_hpsv2_option", 0, "expected", "corrected"), "double_softmax/corrected"),
        ("losses.json", set_at("rao_kupper", 1, "expected", "nll_tie", 3), "1/nll_tie[3]"),
        ("losses.json", set_at("davidson", 0, "expected", "grad_lose", 9), "0/grad_lose[9]"),
        ("losses.json", set_at("plackett_luce", 3, "grad", "nll_efron", 2), "four_two_ties/grad nll_efron[2]"),
        ("losses.json", set_at("plackett_luce", 1, "expected", "nll_topk", "2"), "five_no_ties/nll_topk/2"),
        ("losses.json", set_at("thurstone", 0, "expected", "nll", 9), "0/nll[9]"),
        ("losses.json", set_at("label_noise", 1, "expected", "robust_grad", 0), "1/robust_grad[0]"),
        ("losses.json", set_at("bt_variants", 0, "expected", "scaled", 2), "0/scaled[2]"),
        ("losses.json", set_at("listnet_top1", 1, "expected", "grad", 1), "1/grad[1]"),
        ("preprocess.json", set_at("cases", 1, "out", "hps_pad_antialias_false", "block_mean", 2, 5, 6), "[2][5][6]"),
        ("preprocess.json", set_at("edge_cases", 0, "corrected", "shape", 2, by=-1), "longest_side_already_224/shape"),
        ("preprocess.json", set_at("cases", 0, "uint8_sum", by=1), "smooth/uint8_sum"),
        ("clip_parity.json", set_at("expected", "cosine", 1, 4), "cosine[1][4]"),
        ("clip_parity.json", set_at("hps_train_step", "grad_norm", "ln_final.bias"), "grad_norm ln_final.bias"),
        ("clip_parity.json", set_at("locking", "text", 1, "n_trainable", by=1), "text 1/n_trainable"),
        ("clip_parity.json", set_at("token_ids", 0, 3, by=1), "token_ids"),
        ("metrics.json", set_at("inversion_score", 2, "expected"), "expected 0.834333333"),
        ("metrics.json", set_at("ranking_groups", 2, "expected", "spearman_mean", by=1e-6), "human_and_model_ties/sp"),
        ("metrics.json", set_at("ranking_groups", 1, "expected", "recall_at", "2", by=1e-6), "human_ties/recall_at/2"),
        ("metrics.json", set_at("ranking_groups", 0, "expected", "counts", "n_pairs", by=1), "counts/n_pairs"),
        ("metrics.json", set_at("ranking_groups", 3, "per_group", "inversion_score", 7), "inversion_score[7]"),
        ("metrics.json", set_at("pickscore_tie_threshold", 1, "expected", "accuracy", 3), "some_ties/accuracy[3]"),
        ("metrics.json", set_at("tie_calibration_pairs", 0, "expected", "epsilon"), "distinct_margins/epsilon"),
        ("metrics.json", set_at("calibration", 0, "expected", "bins", "20", "mce_symmetric", by=1e-6), "20 bins/mce"),
        ("metrics.json", set_at("correlation", 1, "expected", "pearson", by=1e-6), "1/pearson"),
        ("benchmark.json", set_at("cases", 0, "expected", "styles", "photo", "std", by=1e-6), "photo/std"),
        ("benchmark.json", set_at("cases", 1, "expected", "average_of_all_scores", by=1e-5), "average_of_all_scores"),
        ("benchmark.json", set_at("cases", 1, "expected", "styles", "photo", "n_images", by=1), "photo/n_images"),
        ("benchmark.json", set_at("cases", 0, "inputs", "check_first_3", "anime", 1), "check_first_3/anime[1]"),
        ("benchmark.json", set_at("drawbench", 0, "expected", "mean", by=1e-5), "drawbench_200/mean"),
        ("evalalign.json", set_at("cases", 1, "parsed_reference", 2, "answers", "object", by=1), "parsed_reference[2]"),
        (
            "evalalign.json",
            set_at("cases", 3, "expected", "reference", "total_avgerage", by=1e-6),
            "alignment/parse_failures/reference/total_avgerage",
        ),
        (
            "evalalign.json",
            set_at("cases", 1, "expected", "corrected", "face", "n_invalid", by=-1),
            "faithfulness/parse_failures/corrected/face/n_invalid",
        ),
        (
            "evalalign.json",
            set_at("cases", 0, "expected", "corrected", "total", "normalised_0_1", by=1e-6),
            "plain_with_na/corrected/total/normalised_0_1",
        ),
    ],
)
def test_one_wrong_number_is_found(
    tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: Callable, named: str
) -> None:
    assert tool.main([str(tampered(tmp_path, name, change))]) == 1
    mismatches = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    # Features are replayed twice, in float64 and in float32; an inversion score by three rules.
    assert 1 <= len(mismatches) <= 3 and all(named in line for line in mismatches), mismatches


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable JSON"),
        ("[1]", "holds a list"),
        ("{}", "no list of cases"),
        ('{"meta": {}, "hps_pair_from_scores": [{"name": "x", "expected": {}}]}', "'x' lacks inputs"),
        (
            '{"imagereward_pair": [{"inputs": {"better": ["a"], "worse": [1]}, "expected": {}}]}',
            "does not follow its schema",
        ),
        ('{"weight_rule": "x", "config": {}}', "lacks images"),
        ('{"meta": {"patterns": {"p": "R=open(1); G=x; B=x"}}, "edge_cases": 3}', "no list of cases"),
    ],
)
def test_malformed_files_are_named(
    tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    shutil.copy(GOLDEN / "losses.json", tmp_path / "a_good_one.json")
    (tmp_path / "bad.json").write_text(text)
    assert tool.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert any(line.startswith("bad.json") and "malformed" in line and said in line for line in printed.splitlines())
    assert "hps_pair_from_scores" in printed, "the other files are still checked"


def test_no_files_and_no_folder(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main([str(tmp_path)]) == 1
    assert "holds no golden file" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        tool.main([str(tmp_path / "none")])
    assert stop.value.code == 2


def test_formulas_are_not_run_as_code(tool: Any) -> None:
    import formula
    from measure import Malformed

    assert formula.evaluate("(7*x + max(y, 3)) mod 5", {"x": 2, "y": 1}) == 2
    assert formula.evaluate_real("1 + x/4", {"x": 2}) == 1.5
    for hostile in ("x/2", "__import__('os')", "x.__class__", "open(1)", "x ** 99999999", "[x for x in y]"):
        with pytest.raises(Malformed):
            formula.evaluate(hostile, {"x": 1, "y": 2})


@pytest.mark.skipif(not SHARED, reason="needs REWARDKIT_SHARED")
def test_the_real_test_file_of_imagereward(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "imagereward_test_random_scores.json"
    shutil.copy(GOLDEN / name, tmp_path / name)
    assert tool.main(["--strict", str(tmp_path)]) == 0
    assert "ok" in capsys.readouterr().out
    wrong = set_at("cases", 1, "expected", "tie_calibrated_macro", "accuracy", by=1e-6)
    assert tool.main([str(tampered(tmp_path, name, wrong))]) == 1
    assert "mod5_many_ties/tie_calibrated_macro/accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("shared", [None, "an empty folder"])
def test_without_that_file_it_is_not_covered(
    tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shared: str | None
) -> None:
    if shared is None:
        monkeypatch.delenv("REWARDKIT_SHARED", raising=False)
    else:
        monkeypatch.setenv("REWARDKIT_SHARED", str(tmp_path))
    shutil.copy(GOLDEN / "imagereward_test_random_scores.json", tmp_path / "scores.json")
    assert tool.main([str(tmp_path)]) == 0
    assert "skipped: " in capsys.readouterr().out
    assert tool.main(["--strict", str(tmp_path)]) == 1


def test_numbers_that_nobody_knows_are_malformed(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def add(content: dict) -> None:
        content["ranking_groups"][0]["expected"]["a_new_metric"] = 1.0

    assert tool.main([str(tampered(tmp_path, "metrics.json", add))]) == 1
    assert "a_new_metric is no number that is known here" in capsys.readouterr().out


def test_losses_that_no_golden_file_holds(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cases of the same schema with other sizes, values and labels; expected numbers by hand."""

    def lost(d: float) -> float:
        return math.log1p(math.exp(-d))

    orders = [(0, 1, 2, 3), (0, 1, 3, 2), (1, 0, 2, 3), (1, 0, 3, 2)]
    scores = [0.3, -1.2, 2.0, 0.4]
    each = [
        sum(math.log(sum(math.exp(scores[m]) for m in order[k:])) - scores[order[k]] for k in range(4))
        for order in orders
    ]
    total = -math.log(sum(math.exp(-loss) for loss in each))
    content = {
        "rao_kupper": [
            {
                "theta": 2.5,
                "inputs": {"delta": [0.4]},
                "expected": {
                    "nll_win": [lost(0.4 - math.log(2.5))],
                    "nll_tie": [lost(0.4 - math.log(2.5)) + lost(-0.4 - math.log(2.5)) - math.log(2.5**2 - 1)],
                },
            }
        ],
        "plackett_luce": [
            {
                "name": "two_blocks",
                "inputs": {"scores": scores, "ranks": [1, 1, 5, 5]},
                "n_orders": 4,
                "expected": {"nll_of_total_probability": total, "nll_mean_over_orders": sum(each) / 4},
            }
        ],
        "videoalign": [
            {
                "loss_type": "margin",
                "inputs": {
                    "reward_A": [[1.0]],
                    "reward_B": [[0.5]],
                    "score_A": [[5.0]],
                    "score_B": [[2.0]],
                    "label": [[1]],
                },
                "expected": {"reference": 7.0, "corrected": lost(0.5 - 3.0), "n_valid": 1, "n_entries": 1},
            },
            {
                "loss_type": "bt",
                "inputs": {
                    "reward_A": [[1.0, 2.0]],
                    "reward_B": [[0.5, 0.0]],
                    "score_A": [[0.0, 4.0]],
                    "score_B": [[0.0, 4.0]],
                    "label": [[22, 0]],
                },
                "expected": {"corrected": 0.0, "n_valid": 0, "mask": [[0, 0]]},
                "grad": {"of": "reference", "reward_A": [[0.0, 0.0]]},
            },
        ],
        "hps_ranking_hinge": [
            {
                "inputs": {"scores_per_prompt": [[1.0, 2.0], [0.0]], "ranks_per_prompt": [[1, 3], [1]], "margin": 0.5},
                "expected": {"corrected": 2.5, "n_pairs_corrected": 1},
            }
        ],
    }
    (tmp_path / "unseen.json").write_text(json.dumps(content))
    assert tool.main(["--strict", str(tmp_path)]) == 0, capsys.readouterr().out
    content["videoalign"][0]["loss_type"] = "a_new_one"
    (tmp_path / "unseen.json").write_text(json.dumps(content))
    assert tool.main([str(tmp_path)]) == 1
    assert "there is no loss_type 'a_new_one'" in capsys.readouterr().out


def test_benchmarks_that_no_golden_file_holds(tool: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image is missing in the middle: published, scores move into other groups; numbers by hand."""
    kept = [i / 4 for i in range(170) if i != 3]
    means = [sum(group) / len(group) for group in (kept[:80], kept[80:160], kept[160:])]
    style = {"n_images": 169, "n_groups": 3, "group_means": means, "mean": sum(means) / 3, "last_group_size": 9}
    content = {
        "meta": {"atol": 1e-8},
        "cases": [
            {
                "name": "a",
                "inputs": {
                    "score_formula": "(i + s)/4, s = style index, i = prompt index",
                    "styles": ["x"],
                    "n_prompts": {"x": 170},
                    "missing_indices": {"x": [3]},
                },
                "expected": {"styles": {"x": style}, "average_of_all_scores": sum(kept) / 169, "n_scores": 169},
            }
        ],
        "drawbench": [{"inputs": {"score_formula": "i*i/2", "n_prompts": 4}, "expected": {"mean": 14 / 8}}],
    }
    answers = {
        "body": "\u22121.There is no body with 4 legs",
        "Hand": "\uff14. fine",
        "face": "7",
        "object": "-1",
        "common": "I see 3 errors",
    }
    read = {"body": 1, "Hand": 4, "face": 7, "object": -1, "common": 3}
    no = {"score": 0, "n_scored": 0, "average": None}
    evalalign = {
        "cases": [
            {
                "kind": "faithfulness",
                "inputs": {"n_images": 1, "table": [{"id": "x", "answers": answers}]},
                "parsed_reference": [{"id": "x", "answers": read}],
                "expected": {
                    "corrected": {
                        "body": {**no, "n_na": 1, "n_invalid": 0},
                        "Hand": {"score": 4, "n_scored": 1, "n_na": 0, "n_invalid": 0, "average": 4.0},
                        **{key: {**no, "n_na": 0, "n_invalid": 1} for key in ("face", "object", "common")},
                        "total": {"n_na": 1, "n_invalid": 3, "normalised_0_1": 1.0},
                    }
                },
            }
        ]
    }
    (tmp_path / "b.json").write_text(json.dumps(content))
    (tmp_path / "e.json").write_text(json.dumps(evalalign))
    assert tool.main(["--strict", str(tmp_path)]) == 0, capsys.readouterr().out
    content["cases"][0]["inputs"]["score_formula"] = "same as nothing"
    evalalign["cases"][0]["kind"] = "beauty"
    (tmp_path / "b.json").write_text(json.dumps(content))
    (tmp_path / "e.json").write_text(json.dumps(evalalign))
    capsys.readouterr()
    assert tool.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "which is no case before it" in printed and "there is no kind 'beauty'" in printed
