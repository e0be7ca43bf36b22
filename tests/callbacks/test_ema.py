"""The average of weights: equal to a plain loop, swapped in for validations alone, in the checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rewardkit.callbacks.ema import EMA, averaged_tensors, kept_share
from torch import nn

from rewardkit import cli


def small_model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    for part in (model[2], model[3]):
        part.requires_grad_(False)
    return model


def module_of(model: nn.Module) -> Any:
    module: Any = nn.Module()
    module.model = model
    return module


def run(ema: EMA, model: nn.Module, weights: list[torch.Tensor], *, accumulation: int = 1, start: int = 0) -> None:
    """Lets the callback see a training whose steps set the first weight to each of ``weights``."""
    trainer: Any = SimpleNamespace(accumulate_grad_batches=accumulation, global_step=start)
    module = module_of(model)
    ema.on_train_start(trainer, module)
    index = 0
    for weight in weights:
        for micro in range(accumulation):
            if micro == accumulation - 1:
                trainer.global_step += 1
                with torch.no_grad():
                    model[0].weight.copy_(weight)  # type: ignore[union-attr, operator]
            ema.on_train_batch_end(trainer, module, None, None, index)
            index += 1


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("warmup", [False, True])
def test_equals_a_plain_loop(accumulation: int, warmup: bool) -> None:
    torch.manual_seed(0)
    model, weights = small_model(), [torch.randn(2, 3) for _ in range(20)]
    average = model[0].weight.detach().clone()
    for n, weight in enumerate(weights):
        d = min(0.6, (1 + n) / (10 + n)) if warmup else 0.6
        average = d * average + (1 - d) * weight
    ema = EMA(decay=0.6, warmup=warmup)
    run(ema, model, weights, accumulation=accumulation)
    torch.testing.assert_close(ema.average["0.weight"], average, rtol=0, atol=1e-6)
    assert ema.updates == 20


def test_starts_as_the_weights_after_from_step() -> None:
    weights = [torch.full((2, 3), float(n)) for n in range(1, 6)]
    ema, model = EMA(decay=0.5, from_step=3, warmup=False), small_model()
    run(ema, model, weights[:2])
    assert not ema.average
    before = model[0].weight.clone()
    ema.on_validation_start(None, module_of(model))  # type: ignore[arg-type]
    assert torch.equal(model[0].weight, before), "before it starts, validations see the weights"
    ema.on_validation_end(None, module_of(model))  # type: ignore[arg-type]
    ema = EMA(decay=0.5, from_step=3, warmup=False)
    run(ema, model, weights)
    assert torch.equal(ema.average["0.weight"], torch.full((2, 3), (0.5 * 3 + 0.5 * 4) * 0.5 + 0.5 * 5))


def test_only_what_trains_is_averaged_and_swapping_twice_changes_nothing() -> None:
    torch.manual_seed(0)
    model, ema = small_model(), EMA(decay=0.9)
    assert set(averaged_tensors(model)) == {
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
    }  # fmt: skip
    run(ema, model, [torch.randn(2, 3) for _ in range(4)])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    average = ema.average["0.weight"].clone()
    module = module_of(model)
    ema.on_validation_start(None, module)  # type: ignore[arg-type]
    assert torch.equal(model[0].weight, average) and not torch.equal(average, before["0.weight"])
    assert all(torch.equal(model.state_dict()[n], before[n]) for n in before if n.startswith(("2.", "3.")))
    with pytest.raises(AssertionError, match="middle of a validation"):
        ema.state_dict()
    ema.on_validation_end(None, module)  # type: ignore[arg-type]
    assert all(torch.equal(model.state_dict()[n], before[n]) for n in before)
    assert torch.equal(ema.average["0.weight"], average)


def test_the_warm_up_grows_to_the_decay() -> None:
    shares = [kept_share(0.999, n, warmup=True) for n in (0, 90, 10**6)]
    assert shares == [0.1, 0.91, 0.999] and kept_share(0.999, 0, warmup=False) == 0.999


def test_bundle_and_checkpoint_are_the_average(tiny_fit: list[str], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from rewardkit.commands.open_model import open_model

    more = ["run.name=a", "callbacks.ema.decay=0.8", "callbacks.ema.warmup=false", "trainer.validate_every=8"]
    tiny_fit = [a for a in tiny_fit if not a.startswith("trainer.validate_every")]
    assert cli.run(["fit", *tiny_fit, *more]) == 0
    run_folder = tmp_path / "runs" / "hpsv2" / "a"
    checkpoint = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    average, weights = checkpoint["callbacks"]["EMA"]["average"], checkpoint["state_dict"]
    bundle = load_file(run_folder / "bundle" / "model.safetensors")
    opened = open_model(str(run_folder / "checkpoints" / "last.ckpt")).model.state_dict()
    name = "clip.visual.conv1.weight"
    assert torch.equal(bundle["visual.conv1.weight"], average[name])
    assert torch.equal(opened[name], average[name])
    assert not torch.equal(average[name], weights[f"model.{name}"])
