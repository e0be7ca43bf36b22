"""The training loop against a plain one of torch: accumulation, clipping, schedule, decay; what is frozen stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from small_batches import small_batch
from tiny_run import DEMO_DIMENSIONS
from torch import nn

from rewardkit.callbacks.ema import EMA  # isort: skip
from rewardkit.data.batch import Batch
from rewardkit.data.datamodule import PreferenceData
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.train import make_trainer
from rewardkit.models.architecture import read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.reward import RewardOutput
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward
from rewardkit.modules.parameter_groups import is_decayed
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

STEPS, GROUPS, CLIP = 4, 6, 0.5


def a_model(tower: Any, **options: Any) -> CLIPReward:
    torch.manual_seed(0)
    return build_clip_reward(architecture=tower, dimensions=DEMO_DIMENSIONS, **options)


def data_for(model: CLIPReward, folder: Path, *, micro: int) -> PreferenceData:
    return PreferenceData(
        train=[folder],
        val=[],
        transform=model.transform,
        tokenizer=model.tokenizer,
        dimensions=model.dimensions,
        batch_groups=GROUPS,
        micro_groups=micro,
    )


def train(model: CLIPReward, folder: Path, *, micro: int, callbacks: Any = (), **options: Any) -> PairwiseCLIPReward:
    data = data_for(model, folder, micro=micro)
    module = PairwiseCLIPReward(
        model,
        WeightedObjective({"bradley_terry": PairwiseObjective(model.dimensions)}),
        Optimisation(
            total_steps=STEPS, lr=1e-3, head_lr=2e-3, weight_decay=0.3, warmup_steps=1, schedule="linear", **options
        ),
        coefficients={},
        seed=0,
    )
    trainer = make_trainer(
        hardware=Hardware(),
        max_steps=STEPS,
        accumulation=data.accumulation,
        validate_every=STEPS,
        gradient_clip=CLIP,
        loggers=[],
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule=data)
    return module


def plain_loop(model: CLIPReward, folder: Path) -> None:
    """The same with nothing of rewardkit but the model, the batches and Bradley-Terry written out."""
    batches = list(data_for(model, folder, micro=GROUPS).train_dataloader())[:STEPS]
    named = list(model.named_parameters())
    groups = [
        {"params": [p], "lr": 2e-3 if n.startswith("head.") else 1e-3, "weight_decay": 0.3 if is_decayed(n, p) else 0.0}
        for n, p in named
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    peaks = [group["lr"] for group in optimizer.param_groups]
    model.train()
    for step, batch in enumerate(batches):
        factor = 1.0 if step < 1 else 1 - (step - 1) / (STEPS - 1)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.zero_grad()
        scores = model(batch).scores
        losses: Any = 0.0
        for d in range(len(DEMO_DIMENSIONS)):
            mine = batch.dimension == d
            delta = scores[batch.first[mine], d] - scores[batch.second[mine], d]
            target = batch.target[mine]
            y = target[:, 0] + target[:, 1] / 2
            losses = losses - (y * delta.sigmoid().log() + (1 - y) * (-delta).sigmoid().log()).mean()
        (losses / len(DEMO_DIMENSIONS)).backward()
        norm = torch.sqrt(sum((p.grad.pow(2).sum() for _, p in named if p.grad is not None), torch.zeros(())))
        assert norm > CLIP, "else nothing is clipped, and the test shows less"
        for _, parameter in named:
            if parameter.grad is not None:
                parameter.grad.mul_(CLIP / (norm + 1e-6))
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, math.log(100.0))


@pytest.mark.parametrize("micro", [6, 2, 1])
def test_accumulation_and_clipping(tiny_tower: Path, demo_folders: tuple[Path, Path], micro: int) -> None:
    model, expected = a_model(tiny_tower), a_model(tiny_tower)
    before = expected.clip.visual.conv1.weight.detach().clone()
    plain_loop(expected, demo_folders[0])
    train(model, demo_folders[0], micro=micro)
    assert (expected.clip.visual.conv1.weight - before).abs().max() > 1e-3
    for (name, ours), theirs in zip(model.named_parameters(), expected.parameters(), strict=True):
        if "in_proj_bias" in name:
            continue  # the key's bias has gradient zero, and AdamW amplifies the noise of it
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-5, msg=lambda m, n=name: f"{n}: {m}")


RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3},
}


def test_what_is_frozen_stays_bit_for_bit(demo_folders: tuple[Path, Path]) -> None:
    """Weights, through weight decay and an average of weights, and the statistics of frozen batch norms."""
    model = a_model(read_architecture(RESNET), unlocked_image_groups=2, unlocked_text_layers=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    ema = EMA(decay=0.9)
    train(model, demo_folders[0], micro=3, callbacks=[ema], layer_decay=0.5)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) > 20 and not frozen & changed and not frozen & set(ema.average)
    assert "clip.visual.layer4.0.bn1.running_mean" in changed, "statistics of what trains move"
    assert not {n for n in changed if "running" in n and "layer4" not in n}
    assert trained <= changed | {n for n in trained if "bias" in n}


class Anything(nn.Module):
    """A reward model without towers and without a scale."""

    dimensions = ("overall",)

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, batch: Batch) -> RewardOutput:
        assert batch.image_features is not None
        return RewardOutput(scores=self.head(batch.image_features))


def test_any_reward_model_trains() -> None:
    module = PairwiseCLIPReward(
        Anything(),
        WeightedObjective({"bradley_terry": PairwiseObjective(("overall",))}),
        Optimisation(total_steps=40, lr=0.1, head_lr=0.1, warmup_steps=0, weight_decay=0.0),
        coefficients={},
        seed=0,
    )
    losses: list[float] = []

    class Note(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *more: Any) -> None:
            losses.append(float(module.step.metrics["loss"]))

    trainer = make_trainer(
        hardware=Hardware(), max_steps=40, accumulation=1, validate_every=40, gradient_clip=None, loggers=[],
        callbacks=[Note()],
    )  # fmt: skip
    batches = torch.utils.data.DataLoader([small_batch()] * 40, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, train_dataloaders=batches)
    assert losses[-1] < 0.1 < losses[0], "one batch is learned by heart"


@pytest.mark.slow
def test_compiled_towers_train_alike(
    tiny_tower: Path, demo_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, forwards and backwards; only the check writes C++, of two lines: of the towers it takes a minute."""
    from rewardkit.modules.compiling import compile_towers, compiled_parts

    plain, compiled = a_model(tiny_tower), a_model(tiny_tower)
    names = list(compiled.state_dict())
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    compile_towers(compiled)
    assert list(compiled.state_dict()) == names and len(compiled_parts(compiled)) == 2
    torch._dynamo.utils.counters.clear()
    results = [train(model, demo_folders[0], micro=2).step.metrics for model in (plain, compiled)]
    assert float(results[0]["loss"]) == pytest.approx(float(results[1]["loss"]), abs=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    for (name, a), b in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        if "in_proj_bias" not in name:
            torch.testing.assert_close(a, b, rtol=0, atol=5e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_machine_without_a_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardkit.errors import UserError
    from rewardkit.modules import compiling

    def broken(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            raise RuntimeError("No working C++ compiler found")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match=r"No working C\+\+ compiler found.*trainer.compile=false"):
        compiling.check_compiler(torch.device("cpu"))
    with pytest.raises(UserError, match="no towers to compile"):
        compiling.compile_towers(Anything())
