"""Layers, origins, and every mistake reported at once."""

from __future__ import annotations

import pytest

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides, parse_value
from rewardkit.config.schema import FitOptions
from rewardkit.errors import ConfigError


def problems(*layers: Layer) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(FitOptions, layers)
    return caught.value.problems


def test_later_layers_win_and_origins_say_who() -> None:
    composed = compose(
        FitOptions,
        [Layer("recipe x", {"optim": {"lr": 1e-3, "eps": 1e-8}}), Layer(COMMAND_LINE, {"optim.lr": "2e-4"})],
    )
    assert composed.options.optim.lr == 2e-4
    assert composed.origins["optim.lr"] == COMMAND_LINE
    assert composed.origins["optim.eps"] == "recipe x"
    assert composed.origins["optim.warmup_steps"] == "default"


def test_all_mistakes_at_once_with_key_origin_and_nearest() -> None:
    found = problems(
        Layer("recipe x", {"optim": {"learning_rate": 1, "warmup": 3, "lr": -1}}),
        Layer(COMMAND_LINE, {"trainer.max_steps": 2.5, "trainer.precision": "bf", "max_steps": 3, "trainer": 4}),
    )
    assert len(found) == 7
    by_key = {p.split(":")[0]: p for p in found}
    assert "'optim.warmup_steps'" in by_key["optim.warmup"] and "set by recipe x" in by_key["optim.warmup"]
    assert "'trainer.max_steps'" in by_key["max_steps"]
    assert "whole number" in by_key["trainer.max_steps"] and "2.5" in by_key["trainer.max_steps"]
    assert "'bf16'" in by_key["trainer.precision"] and "set by command line" in by_key["trainer.precision"]
    assert "greater than 0" in by_key["optim.lr"]
    assert "section" in by_key["trainer"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", True),
        ("seed", "one"),
        ("seed", "0x10"),
        ("seed", "1.0"),
        ("seed", 1.0),
        ("seed", None),
        ("optim.lr", "fast"),
        ("optim.lr", float("nan")),
        ("dry_run", 1),
        ("dry_run", "yes"),
        ("data.dimension_map", "a"),
        ("model.dimensions", {"a": "b"}),
        ("run.name", ["a"]),
        ("optim.betas", ["a", "b"]),
        ("run.name", "${oc.env:HOME}"),
    ],
)
def test_wrong_values_are_refused(key: str, value: object) -> None:
    (problem,) = problems(Layer(COMMAND_LINE, {key: value}))
    assert problem.startswith(f"{key}: ")


def test_lists_maps_and_names_of_digits() -> None:
    options = compose(
        FitOptions,
        [
            Layer(
                COMMAND_LINE,
                parse_overrides(
                    [
                        "data.train=a, b",
                        "data.dimension_map={x: y, z: null}",
                        "run.name=12",
                        "data.val=[c]",
                        "trainer.devices=2",
                    ]
                ),
            )
        ],
    ).options
    assert options.data.train == ["a", "b"] and options.data.val == ["c"]
    assert options.data.dimension_map == {"x": "y", "z": None}
    assert options.run.name == "12" and options.trainer.devices == "2"


@pytest.mark.parametrize("name", ["0001", "0008", "1.10", "1_0", "0x10", "1:30", "1e3", "12", ".5"])
def test_a_name_that_yaml_reads_as_a_number_stays_as_written(name: str) -> None:
    options = compose(FitOptions, [Layer(COMMAND_LINE, parse_overrides([f"run.name={name}"]))]).options
    assert options.run.name == name


@pytest.mark.parametrize(("text", "number"), [("010", 10), ("1_000", 1000), ("+3", 3), ("7", 7)])
def test_whole_numbers_are_decimal(text: str, number: int) -> None:
    options = compose(FitOptions, [Layer(COMMAND_LINE, parse_overrides([f"seed={text}"]))]).options
    assert options.seed == number


def test_one_entry_of_a_map() -> None:
    options = compose(FitOptions, [Layer(COMMAND_LINE, {"data.dimension_map.appeal_t1": "appeal"})]).options
    assert options.data.dimension_map == {"appeal_t1": "appeal"}


def test_a_callback_is_left_out_and_put_back() -> None:
    without = Layer("recipe", {"callbacks": {"guards": None}})
    assert compose(FitOptions, [without]).options.callbacks.guards is None
    again = compose(FitOptions, [without, Layer(COMMAND_LINE, {"callbacks.guards.patience": 3})]).options
    assert again.callbacks.guards is not None and again.callbacks.guards.patience == 3
    plain = compose(FitOptions, [without, Layer(COMMAND_LINE, {"callbacks": {"guards": {}}})]).options
    assert plain.callbacks.guards is not None


def test_the_first_equals_sign_splits() -> None:
    assert parse_overrides(["run.name=a=b=c", "x="]) == {"run.name": "a=b=c", "x": ""}


def test_arguments_that_are_no_override() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["seed", "a=1", "a=2", "=3"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", "1e-4"), ("2024-01-02", "2024-01-02"), ("a: b: c", "a: b: c"), ("null", None), ("[1, 2]", [1, 2])],
)
def test_values_are_yaml_or_text(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_defaults_are_not_shared() -> None:
    first = compose(FitOptions, []).options
    first.data.train.append("x")
    first.data.embedded.seed = 9
    second = compose(FitOptions, []).options
    assert second.data.train == [] and second.data.embedded.seed == 0


def test_entries_of_a_map_are_of_its_kind() -> None:
    given = [
        Layer("recipe x", {"data": {"weights": {"hpd": 3, "a/b": "1e-1"}}}),
        Layer(COMMAND_LINE, {"data.weights.c": 2}),
    ]
    weights = compose(FitOptions, given).options.data.weights
    assert weights == {"hpd": 3.0, "a/b": 0.1, "c": 2.0} and all(isinstance(w, float) for w in weights.values())
    (problem,) = problems(Layer(COMMAND_LINE, {"data.weights.hpd": True}))
    assert "data.weights.hpd: expects a number, got True" in problem


def test_a_switch_that_may_be_null_takes_null_from_any_layer() -> None:
    for layer in (Layer("recipe x", {"model": {"mllm": {"share_prefix": None}}}),
                  Layer(COMMAND_LINE, {"model.mllm.share_prefix": parse_value("null")})):  # fmt: skip
        assert compose(FitOptions, [layer]).options.model.mllm.share_prefix is None
    assert "true or false" in problems(Layer(COMMAND_LINE, {"model.uncertainty": None}))[0]
