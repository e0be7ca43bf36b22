"""Which curves share a chart."""

from __future__ import annotations

from rewardkit.report.figures import MAX_OTHER_CURVES, Figure, curve_figures


def figures(*names: str) -> dict[str, Figure]:
    return {figure.title: figure for figure in curve_figures({name: [(1, 0.5), (2, 0.6)] for name in names})}


def labels(figure: Figure) -> list[str]:
    return [label for _, label in figure.legend]


def test_a_loss_of_one_term_is_one_line() -> None:
    term = "train/loss/bradley_terry"
    found = figures("train/loss", term, f"{term}/overall", f"{term}/other")
    assert found["Loss"].legend == ()
    assert labels(found["Parts of bradley_terry"]) == ["overall", "other"]
    assert set(found) == {"Loss", "Parts of bradley_terry"}


def test_a_loss_of_two_terms_shows_them() -> None:
    found = figures("train/loss", "train/loss/bradley_terry", "train/loss/caption_contrast")
    assert labels(found["Loss"]) == ["total", "bradley_terry", "caption_contrast"]


def test_accuracies_are_by_protocol_and_set() -> None:
    found = figures("val/strict_micro/a", "val/strict_micro/b", "val/photos/strict_micro/a")
    assert labels(found["Held-out accuracy (strict_micro)"]) == ["a", "b"]
    assert "Held-out accuracy (photos, strict_micro)" in found


def test_other_metrics_stand_behind_and_are_bounded() -> None:
    found = figures("train/lr", *(f"train/other_{n}" for n in range(MAX_OTHER_CURVES + 5)))
    assert found["Learning rate"].main
    assert sum(not figure.main for figure in found.values()) == MAX_OTHER_CURVES


def test_nothing_logged_is_no_chart() -> None:
    assert curve_figures({}) == []
