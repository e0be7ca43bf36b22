"""Options of strategies that contradict each other, and a DeepSpeed file that contradicts the recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardkit.commands.check import check
from rewardkit.config.compose import parse_overrides
from rewardkit.config.recipes import compose_fit
from rewardkit.engine.deepspeed_config import deepspeed_config
from rewardkit.engine.hardware import Hardware
from rewardkit.errors import ConfigError, UserError


def problems(*arguments: str) -> list[str]:
    given = [*arguments] if any("precision" in a for a in arguments) else ["trainer.precision=32", *arguments]
    composed = compose_fit(parse_overrides(["recipe=hpsv2", *given]))
    try:
        check(composed.options, composed.origins)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("arguments", "key", "remedy"),
    [
        (["trainer.offload_optimizer=cpu"], "trainer.offload_optimizer", "trainer.strategy=zero3"),
        (["trainer.strategy=ddp", "trainer.offload_parameters=cpu"], "trainer.offload_parameters", "zero3"),
        (["trainer.strategy=zero2", "trainer.offload_parameters=cpu"], "trainer.offload_parameters", "only zero3"),
        (["trainer.strategy=zero3", "trainer.offload_optimizer=nvme"], "trainer.nvme_path", "/local/nvme"),
        (["trainer.strategy=zero3", "trainer.nvme_path=/x"], "trainer.nvme_path", "nothing is offloaded"),
        (["trainer.strategy=fsdp", "trainer.bucket_mb=10"], "trainer.bucket_mb", "null"),
        (["trainer.strategy=zero3", "trainer.compile=true"], "trainer.compile", "trainer.compile=false"),
        (["trainer.strategy=fsdp", "trainer.precision=16"], "trainer.precision", "bf16"),
        (["trainer.deepspeed_config=x.json"], "trainer.deepspeed_config", "trainer.strategy=zero2"),
        (
            [
                "trainer.strategy=zero3",
                "trainer.offload_parameters=nvme",
                "trainer.nvme_path=/x",
                "callbacks.ema.decay=0.9",
            ],
            "callbacks.ema",
            "cpu",
        ),
    ],
)
def test_contradictions_name_the_key_and_a_remedy(arguments: list[str], key: str, remedy: str) -> None:
    (problem,) = problems(*arguments)
    assert problem.startswith(key) and remedy in problem


def test_what_is_read_twice_cannot_be_gathered_once() -> None:
    found = problems("trainer.strategy=zero3", "model.mllm.share_prefix=true")
    assert any(p.startswith("model.mllm.share_prefix: zero3 gathers") and "zero2" in p for p in found)


@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer.strategy=zero2", "trainer.offload_optimizer=cpu", "trainer.bucket_mb=50"],
        ["trainer.strategy=zero3", "trainer.offload_parameters=nvme", "trainer.nvme_path=/x"],
        ["trainer.strategy=fsdp", "trainer.communication=bf16", "trainer.precision=bf16"],
    ],
)
def test_what_fits_together_passes(arguments: list[str]) -> None:
    assert problems(*arguments) == []


AGREES: dict[str, Any] = {
    "train_batch_size": 32,
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_optimization": {
        "stage": 2,
        "reduce_bucket_size": 1000,
        "offload_optimizer": {"device": "cpu"},
        "overlap_comm": "auto",
    },
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": False},
    "optimizer": {"type": "AdamW", "params": {"lr": 0.003, "betas": "auto", "weight_decay": 0.05}},
}


def with_file(path: Path, changes: dict[str, Any], *arguments: str) -> list[str]:
    config = json.loads(json.dumps(AGREES))
    for key, value in changes.items():
        *sections, name = key.split(".")
        inside = config
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[name] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    return problems("trainer.strategy=zero2", "trainer.devices=2", f"trainer.deepspeed_config={path}", *arguments)


def test_a_file_that_says_the_same_is_taken(tmp_path: Path) -> None:
    assert with_file(tmp_path / "ds.json", {}) == []


@pytest.mark.parametrize(
    ("key", "value", "option"),
    [
        ("train_batch_size", 64, "data.batch_groups"),
        ("gradient_accumulation_steps", 2, "data.micro_groups"),
        ("gradient_clipping", 0.3, "optim.gradient_clip"),
        ("zero_optimization.stage", 3, "trainer.strategy"),
        ("optimizer.params.lr", 1e-5, "optim.lr"),
        ("optimizer.params.betas", [0.9, 0.999], "optim.betas"),
        ("optimizer.params.weight_decay", 0.0, "optim.weight_decay"),
        ("bf16.enabled", True, "trainer.precision"),
        ("fp16.enabled", True, "trainer.precision"),
    ],
)
def test_a_conflict_names_both_places(tmp_path: Path, key: str, value: Any, option: str) -> None:
    (problem,) = with_file(tmp_path / "ds.json", {key: value})
    assert problem.startswith(f"{option} and {tmp_path / 'ds.json'} disagree")
    assert key in problem and json.dumps(value) in problem


def test_a_conflict_says_where_the_option_was_set(tmp_path: Path) -> None:
    (problem,) = with_file(tmp_path / "ds.json", {}, "optim.lr=1e-4")
    assert "optim.lr is 0.0001 (command line)" in problem, problem


def test_what_only_shares_work_may_stand_in_the_file_alone_but_not_against_an_option(tmp_path: Path) -> None:
    assert with_file(tmp_path / "ds.json", {}) == []
    (problem,) = with_file(tmp_path / "ds.json", {}, "trainer.offload_optimizer=none")
    assert problem.startswith("trainer.offload_optimizer and")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"gradient_cliping": 1.0}, "gradient_clipping"),
        ({"zero_optimization.reduce_bucket_sise": 10}, "reduce_bucket_size"),
        ({"zero_optimization.reduce_bucket_size": -1}, "greater than 0"),
        ({"optimizer.type": "Lamb"}, "AdamW"),
        ({"scheduler": {"type": "WarmupLR"}}, "optim.schedule"),
        ({"curriculum_learning": {"enabled": True}}, "remove the section"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    (problem,) = with_file(tmp_path / "ds.json", changes)
    assert str(tmp_path / "ds.json") in problem and text in problem


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ds.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"trainer\.deepspeed_config"):
        problems("trainer.strategy=zero2", f"trainer.deepspeed_config={path}")


def test_the_configuration_that_deepspeed_gets() -> None:
    ours = deepspeed_config(Hardware(strategy="zero3", precision="bf16", bucket_mb=4.0), on_gpu=False)
    assert ours["zero_optimization"]["stage"] == 3 and ours["zero_optimization"]["reduce_bucket_size"] == 1_000_000
    assert ours["torch_autocast"] == {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    assert ours["communication_data_type"] == "fp32"
    given = deepspeed_config(Hardware(strategy="zero2", deepspeed=AGREES, communication="bf16"), on_gpu=True)
    assert given["zero_optimization"] == {
        "stage": 2,
        "reduce_bucket_size": 1000,
        "offload_optimizer": {"device": "cpu"},
        "overlap_comm": True,
    }
    assert given["communication_data_type"] == "bf16" and given["torch_autocast"] == {"enabled": False}
    assert not {"optimizer", "bf16", "fp16", "train_batch_size", "gradient_accumulation_steps"} & set(given)
