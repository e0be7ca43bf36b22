"""Tunes a generator along a reward's gradient: ReFL, with the pre-training loss that its release lacks.

::

    python tools/examples/prepare.py FOLDER
    python tools/examples/tune_refl.py FOLDER [--steps 60] [--out OUT]

ImageReward's ReFL (arXiv 2304.05977): denoise without gradient to one of the last steps, drawn at random; predict the
clean picture from there with gradient; follow the reward's. Beside it runs the loss that the generator was pre-trained
with, on real pictures, which holds it to them: the released script leaves it out and degrades (ImageReward issue 95).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from held_out import arguments, prompts_of, read_generator, read_rewards, tell_change
from prepare import read_pictures
from tiny_generator import (
    STEPS,
    TinyPipeline,
    copy_of,
    noise,
    parameters_of,
    pretraining_loss,
    to_pixels,
)
from torch import Tensor

from rewardkit.cli import explained
from rewardkit.rewards.reward import Reward
from rewardkit.rewards.tuning_losses import refl_loss


def predicted_pictures(
    pipeline: TinyPipeline,
    prompts: Sequence[str],
    generator: torch.Generator,
    *,
    steps: int = STEPS,
    latest: float = 0.25,
) -> Tensor:
    """Pictures predicted from one of the last denoising steps, with a gradient through that step alone.

    Args:
        pipeline: The generator.
        prompts: N texts.
        generator: Draws the noise and the step.
        steps: Of the whole schedule.
        latest: Share of the steps, at the end, that one is drawn from (ReFL: 30 to 39 of 40).
    """
    pipeline.scheduler.set_timesteps(steps)
    low = min(steps - 1, round(steps * (1 - latest)))
    stop = int(torch.randint(low, steps, (1,), generator=generator))
    latents = noise(len(prompts), generator)
    with torch.no_grad():
        text = pipeline.words(prompts)
        for timestep in pipeline.scheduler.timesteps[:stop]:
            predicted = pipeline.predict(latents, timestep, text)
            latents = pipeline.scheduler.step(predicted, timestep, latents).prev_sample
    timestep = pipeline.scheduler.timesteps[stop]
    predicted = pipeline.predict(latents, timestep, pipeline.words(prompts))
    clean = pipeline.scheduler.step(predicted, timestep, latents).pred_original_sample
    return to_pixels(clean)


def tune(
    pipeline: TinyPipeline,
    reward: Reward,
    prompts: Sequence[str],
    pictures: Tensor,
    captions: Sequence[str],
    *,
    steps: int,
    batch: int = 16,
    rate: float = 7e-4,
    scale: float = 0.1,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Tunes a generator in place; gives each step's mean reward and parts of the loss.

    Args:
        pipeline: The generator.
        reward: Differentiable.
        prompts: To draw from.
        pictures: uint8 ``[M, 3, 32, 32]``, real ones for the pre-training loss.
        captions: Of those.
        steps: Of the optimiser.
        batch: Pictures made, and real ones, in a step.
        rate: Learning rate.
        scale: Of the reward's part. ImageReward's 1e-3 is for a generator of its size and 100 steps at 1e-5.
        seed: Of all that is random.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(parameters_of(pipeline), lr=rate, weight_decay=0.0)
    history = []
    for _ in range(steps):
        texts = [prompts[row] for row in torch.randint(0, len(prompts), (batch,), generator=generator).tolist()]
        rewards = reward(predicted_pictures(pipeline, texts, generator), texts)
        rows = torch.randint(0, len(pictures), (batch,), generator=generator)
        real = pretraining_loss(pipeline, pictures[rows], [captions[row] for row in rows.tolist()], generator)
        total, part = refl_loss(rewards, real, scale=scale)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(parameters_of(pipeline), 1.0)
        optimiser.step()
        history.append({"reward": rewards.mean().item(), "part": part.item(), "pretraining": real.item()})
    return history


def main(command: Sequence[str] | None = None) -> int:
    """Tunes, and compares held-out pictures."""
    given, started = arguments(__doc__, command, steps=60, rate=7e-4, scale=0.1), time.monotonic()
    rewards, before = read_rewards(given.folder), read_generator(given.folder)
    pictures, captions = read_pictures(given.folder)
    tuned = copy_of(before)
    history = tune(
        tuned,
        rewards["reward"],
        prompts_of("train", 256),
        pictures,
        captions,
        steps=given.steps,
        rate=given.rate,
        scale=given.scale,
        seed=given.seed,
    )
    for name in ("reward", "pretraining"):
        ends = [sum(step[name] for step in some) / len(some) for some in (history[:10], history[-10:])]
        print(f"{name}: {ends[0]:.3f} over the first 10 steps, {ends[1]:.3f} over the last 10")
    tell_change("The reward's gradient (ReFL)", rewards, before, tuned, started, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
