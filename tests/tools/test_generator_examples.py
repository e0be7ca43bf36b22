"""The examples that tune a generator: each part does what its paper says, and a reward rises, in a few quick steps."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rewardkit.cli import explained
from rewardkit.errors import UserError

pytest.importorskip("diffusers", reason="the examples tune a generator of diffusers (the extra `generators`)")

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("tiny_generator", "prepare", "held_out", "tune_ddpo", "tune_dpo", "tune_refl", "reference_noise")
PROMPTS = ["two red cats in the snow, poster", "one blue boat on the sea, pastel", "four fish, storybook", "one car"]


@pytest.fixture(scope="module")
def examples() -> Any:
    """The scripts as modules."""
    sys.path.insert(0, str(REPOSITORY / "tools" / "examples"))
    try:
        modules = {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.pop(0)
    return type("Examples", (), modules)


@pytest.fixture(scope="module")
def base(examples: Any) -> Any:
    """A generator that was taught for a few steps that pictures are even and dark."""
    torch.set_num_threads(1)
    pipeline = examples.tiny_generator.build_pipeline(channels=(8, 16))
    losses = examples.tiny_generator.pretrain(pipeline, dark(64), PROMPTS * 16, steps=30, batch=8)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    return pipeline


def dark(count: int) -> Tensor:
    """Pictures uint8 of one dark colour each."""
    drawn = torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return (drawn * 120).to(torch.uint8).expand(-1, -1, 32, 32)


class Brightness:
    """A reward that anybody can check: how far the mean pixel is above grey, times ten."""

    differentiable = True

    def __call__(self, pictures: Tensor, prompts: object, *, gradient: bool = True) -> Tensor:
        return 10 * (pictures.mean(dim=(1, 2, 3)) - 0.5)


def bright(pictures: Tensor, prompts: object, metadata: object = None) -> tuple[Tensor, dict]:
    return Brightness()(pictures, prompts), {}


def held_out_brightness(pipeline: Any) -> float:
    """Of prompts and seeds that no test tunes on."""
    return float(bright(pipeline(["three green houses", "one balloon"] * 8, seed=99, steps=6), None)[0].mean())


def test_pictures_and_latents_are_inverse_and_words_matter(examples: Any, base: Any) -> None:
    tiny = examples.tiny_generator
    pictures = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(tiny.to_pixels(tiny.to_latents(pictures)), pictures)
    one, again = (base(PROMPTS, seed=1, steps=3) for _ in range(2))
    assert torch.equal(one, again) and one.shape == (4, 3, 32, 32) and 0 <= one.min() <= one.max() <= 1
    assert not torch.equal(base(PROMPTS[:1], seed=1, steps=3), base(PROMPTS[1:2], seed=1, steps=3))


def test_a_generator_is_written_and_read(examples: Any, tmp_path: Path) -> None:
    tiny = examples.tiny_generator
    pipeline = tiny.build_pipeline(seed=3)
    tiny.write_pipeline(pipeline, tmp_path)
    again = tiny.read_pipeline(tmp_path)
    assert torch.equal(again(PROMPTS, seed=0, steps=2), pipeline(PROMPTS, seed=0, steps=2))


def test_steps_of_the_policy_are_those_of_diffusers(examples: Any, base: Any) -> None:
    ddpo = examples.tune_ddpo
    base.scheduler.set_timesteps(6)
    text = base.words(PROMPTS)
    generator = torch.Generator().manual_seed(2)
    for timestep in base.scheduler.timesteps[:-1]:
        state, drawn = (examples.tiny_generator.noise(4, generator) for _ in range(2))
        with torch.no_grad():
            mine, log_prob = ddpo.step_log_prob(base, text, timestep, state, None, drawn)
            predicted = base.predict(state, timestep, text)
        theirs = base.scheduler.step(predicted, timestep, state, eta=1.0, variance_noise=drawn).prev_sample
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        std = ddpo.step_std(base, timestep)
        normal = torch.distributions.Normal(mine - std * drawn, std).log_prob(mine).mean(dim=(1, 2, 3))
        torch.testing.assert_close(log_prob, normal, rtol=1e-4, atol=1e-4)
    base.scheduler.set_timesteps(examples.tiny_generator.STEPS)
    assert ddpo.step_std(base, base.scheduler.timesteps[-1]) == 0


def test_the_first_ratio_is_one_and_good_pictures_become_likelier(examples: Any, base: Any) -> None:
    ddpo, policy = examples.tune_ddpo, examples.tiny_generator.copy_of(base)
    made = ddpo.walk(policy, PROMPTS, torch.Generator().manual_seed(0), steps=4)
    assert made.states.shape[0] == 4 and made.log_probs.shape == (3, 4)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])

    def log_probs() -> Tensor:
        steps = zip(made.timesteps, made.states, made.states[1:], strict=False)
        text = policy.words(PROMPTS)
        return torch.stack([ddpo.step_log_prob(policy, text, t, a, b, a)[1] for t, a, b in steps])

    torch.testing.assert_close(log_probs().detach(), made.log_probs, rtol=0, atol=1e-5)
    optimiser = torch.optim.SGD(examples.tiny_generator.parameters_of(policy), lr=0.02)
    losses = ddpo.learn(
        policy, optimiser, made, PROMPTS, advantages, clip=0.1, generator=torch.Generator().manual_seed(0)
    )
    assert losses[0] == pytest.approx(0.0, abs=1e-5), "advantages sum to 0 and every ratio is 1"
    gained = (log_probs() - made.log_probs).detach().mean(0)
    assert gained[advantages > 0].mean() > gained[advantages < 0].mean()


@pytest.mark.slow
def test_policy_gradients_raise_the_reward(examples: Any, base: Any) -> None:
    policy = examples.tiny_generator.copy_of(base)
    before = held_out_brightness(policy)
    means = examples.tune_ddpo.tune(
        policy, bright, PROMPTS, rounds=5, prompts_per_round=2, pictures_per_prompt=6, rate=3e-3, clip=0.05, steps=5
    )
    assert np.mean(means[-2:]) > np.mean(means[:2])
    assert held_out_brightness(policy) > before + 0.2


@pytest.mark.slow
def test_dpo_starts_at_ln_2_and_raises_the_reward(examples: Any, base: Any) -> None:
    policy = examples.tiny_generator.copy_of(base)
    before = held_out_brightness(policy)
    pairs = examples.tune_dpo.preferences_of(base, Brightness(), PROMPTS * 4, pictures_per_prompt=3)
    assert (bright(pairs.better, None)[0] >= bright(pairs.worse, None)[0]).all()
    losses = examples.tune_dpo.tune(policy, pairs, steps=20, batch=8, rate=2e-3, beta=200.0)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert np.mean(losses[-10:]) < math.log(2)
    assert held_out_brightness(policy) > before + 0.2


@pytest.mark.slow
def test_refl_has_a_gradient_and_its_pretraining_loss_and_raises_the_reward(examples: Any, base: Any) -> None:
    refl, policy = examples.tune_refl, examples.tiny_generator.copy_of(base)
    generator = torch.Generator().manual_seed(0)
    made = refl.predicted_pictures(policy, PROMPTS, generator, steps=6)
    made.mean().backward()
    assert all(p.grad is not None for p in policy.unet.parameters())
    before = held_out_brightness(policy)
    real = dark(16)
    history = refl.tune(policy, Brightness(), PROMPTS, real, PROMPTS * 4, steps=12, batch=4, rate=2e-3, scale=0.1)
    assert all(step["pretraining"] > 0 for step in history)
    assert held_out_brightness(policy) > before + 0.2
    held = examples.tiny_generator.copy_of(base)
    (alone,) = refl.tune(held, Brightness(), PROMPTS, real, PROMPTS * 4, steps=1, batch=4, rate=2e-3, scale=0.0)
    weights = (p.unet.conv_in.weight for p in (held, base))
    assert alone["part"] == 0 and not torch.equal(*weights), "the pre-training loss teaches where the reward does not"


def test_an_initial_noise_from_a_reference(examples: Any, base: Any) -> None:
    noise = examples.reference_noise
    assert noise.nearest_captions(["two red cats"], ["one boat", "two cats, red", "two dogs"]) == [1]
    assert [noise.first_step(s, 12) for s in (1.0, 0.95, 0.75, 0.01)] == [0, 1, 3, 11]
    with pytest.raises(UserError, match=r"strength 1\.5"):
        noise.first_step(1.5, 12)
    references = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = noise.pictures_from(base, PROMPTS, references, 1.0, seed=3)
    assert torch.equal(plain, base(PROMPTS, seed=3)), "strength 1 is the pipeline's own noise"
    away = [
        float((noise.pictures_from(base, PROMPTS, references, strength, seed=3) - references).abs().mean())
        for strength in (1.0, 0.5, 0.1)
    ]
    assert away[0] > away[1] > away[2]
    latents, first = noise.start_from(base, references, 0.5, torch.Generator().manual_seed(3), steps=12)
    timestep = base.scheduler.timesteps[first]
    share = base.scheduler.alphas_cumprod[timestep].sqrt()
    drawn = examples.tiny_generator.noise(4, torch.Generator().manual_seed(3))
    expected = share * examples.tiny_generator.to_latents(references) + (1 - share**2).sqrt() * drawn
    torch.testing.assert_close(latents, expected)


def test_changes_have_an_interval_over_prompts(examples: Any, tmp_path: Path) -> None:
    held_out: ModuleType = examples.held_out
    train, val = (held_out.prompts_of(split, 40) for split in ("train", "val"))
    assert len(set(train)) == 40 and set(train).isdisjoint(val)
    before = torch.zeros(4, 3, 32, 32)
    before[2] = 0.2
    after = torch.full_like(before, 0.1)
    after[3] = 0.5
    (one,) = held_out.compare({"reward": Brightness()}, before, after, ["a", "b", "a", "b"])
    assert (one.before, one.pictures, one.prompts) == (pytest.approx(-4.5), 4, 2)
    assert one.within == pytest.approx(1.0), "of -5 and -3, and of -5 and -5"
    assert one.change == pytest.approx(1.5)
    assert one.low == pytest.approx(0.0, abs=1e-5) and one.high == pytest.approx(3.0)
    held_out.tell("title", [one], 0.0, tmp_path / "out", before, after)
    assert json.loads((tmp_path / "out" / "changes.json").read_text())[0]["change"] == pytest.approx(1.5)
    assert (tmp_path / "out" / "pictures.png").is_file()


def test_mistakes_are_one_message(examples: Any, base: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(script: str, *options: str) -> str:
        assert explained(lambda: getattr(examples, script).main([str(tmp_path), *options])) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ") and message.count("\n") == 1
        return message

    for script in ("tune_ddpo", "tune_dpo", "tune_refl", "reference_noise"):
        assert f"is missing. Make it: python tools/examples/prepare.py {tmp_path}" in told(script)
    examples.tiny_generator.write_pipeline(base, tmp_path / "generator")
    assert "reward/bundle/bundle.json is missing" in told("tune_dpo")
    for name in examples.prepare.REWARDS:
        record = examples.prepare.bundle_of(tmp_path, name) / "bundle.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}", encoding="utf-8")
    for name in ("pictures.safetensors", "captions.json"):
        (tmp_path / name).write_text("[]", encoding="utf-8")
    assert "bundle.json" in told("tune_refl")
    assert "--on nothing: brightness, or reward" in told("tune_ddpo", "--on", "nothing")
    assert "--rounds 0: at least 1" in told("tune_ddpo", "--rounds", "0")
    assert "--rate nan: a number of at least 0" in told("tune_dpo", "--rate", "nan")
    assert "--strengths a,b" in told("reference_noise", "--strengths", "a,b")
    assert "strength 2.0: above 0" in told("reference_noise", "--strengths", "0.5,2")
