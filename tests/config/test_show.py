"""Composed options as flat values and back: what a run's record holds composes to the same options."""

from __future__ import annotations

from rewardkit.config.schema import FitOptions
from rewardkit.config.show import flat_values, with_null_sections


def test_a_null_section_is_one_key() -> None:
    flat = flat_values(FitOptions())
    assert flat["callbacks.ema.decay"] is None and flat["callbacks.guards.patience"] == 200
    given = with_null_sections(flat)
    assert given["callbacks.ema"] is None and given["callbacks.early_stopping"] is None
    absent = ("callbacks.ema", "callbacks.early_stopping", "callbacks.gallery")
    inside = tuple(f"{name}." for name in absent)
    assert not [key for key in given if key.startswith(inside)]
    assert given["callbacks.guards.patience"] == 200 and "callbacks.guards" not in given
    kept = {key for key in flat if not key.startswith(inside)}
    assert kept | set(absent) == set(given)
    assert {key: given[key] for key in kept} == {key: flat[key] for key in kept}


def test_an_option_that_may_be_null_is_no_null_section() -> None:
    flat = flat_values(FitOptions())
    assert flat["model.patch_dropout"] is None and flat["optim.gradient_clip"] is None
    given = with_null_sections(flat)
    assert given["model.patch_dropout"] is None and "model" not in given and "optim" not in given


def test_a_record_from_before_an_option_existed_nulls_nothing() -> None:
    flat = flat_values(FitOptions())
    del flat["callbacks.guards.max_drift"], flat["model.patch_dropout"]
    assert "callbacks.guards" not in with_null_sections(flat)
    assert with_null_sections({}) == {}
