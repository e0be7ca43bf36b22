"""Tunes a generator on preferences, the second of VisionPrefer's two ways.

::

    python tools/examples/prepare.py FOLDER
    python tools/examples/tune_dpo.py FOLDER [--steps 40] [--out OUT]

Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908): of two pictures of one prompt the better one shall be
predicted from noise better than by the generator that was started from, and the worse one worse. The preferences are a
reward's here: of four pictures that the generator made of each prompt, the best against the worst. People's votes, or
those of ``annotate``, go in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from held_out import arguments, prompts_of, read_generator, read_rewards, tell_change
from tiny_generator import TinyPipeline, copy_of, denoising_errors, noise, parameters_of, to_latents
from torch import Tensor

from rewardkit.cli import explained
from rewardkit.rewards.reward import Reward
from rewardkit.rewards.tuning_losses import diffusion_dpo_loss


@dataclass(frozen=True)
class Preferences:
    """P pairs of pictures.

    Attributes:
        prompts: P texts.
        better: ``[P, 3, 32, 32]`` in [0, 1].
        worse: Likewise.
    """

    prompts: list[str]
    better: Tensor
    worse: Tensor


def preferences_of(
    pipeline: TinyPipeline, reward: Reward, prompts: Sequence[str], *, pictures_per_prompt: int = 4, seed: int = 0
) -> Preferences:
    """Pictures of each prompt, the best against the worst by a reward."""
    texts = [prompt for prompt in prompts for _ in range(pictures_per_prompt)]
    pictures = pipeline(texts, seed=seed)
    rewards = reward(pictures, texts, gradient=False).reshape(len(prompts), pictures_per_prompt)
    first = torch.arange(len(prompts)) * pictures_per_prompt
    return Preferences(list(prompts), pictures[first + rewards.argmax(1)], pictures[first + rewards.argmin(1)])


def dpo_loss(
    pipeline: TinyPipeline,
    base: TinyPipeline,
    pairs: Preferences,
    rows: Tensor,
    generator: torch.Generator,
    *,
    beta: float,
) -> Tensor:
    """The loss on some pairs; both pictures of a pair, and both generators, get the same noise and timestep."""
    prompts = [pairs.prompts[row] for row in rows.tolist()]
    timesteps = torch.randint(0, pipeline.scheduler.config.num_train_timesteps, (len(rows),), generator=generator)
    drawn = noise(len(rows), generator)
    latents = torch.cat([to_latents(pairs.better[rows]), to_latents(pairs.worse[rows])])  # [2 · P, …]
    twice, both = timesteps.repeat(2), drawn.repeat(2, 1, 1, 1)
    errors = denoising_errors(pipeline, latents, pipeline.words(prompts * 2), twice, both).chunk(2)
    with torch.no_grad():
        of_base = denoising_errors(base, latents, base.words(prompts * 2), twice, both).chunk(2)
    return diffusion_dpo_loss(*errors, *of_base, beta=beta)


def tune(
    pipeline: TinyPipeline,
    pairs: Preferences,
    *,
    steps: int,
    batch: int = 16,
    rate: float = 1e-3,
    beta: float = 500.0,
    seed: int = 0,
) -> list[float]:
    """Tunes a generator in place; gives the losses, the first of which is ln 2."""
    base, generator = copy_of(pipeline), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(parameters_of(pipeline), lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        rows = torch.randint(0, len(pairs.prompts), (batch,), generator=generator)
        loss = dpo_loss(pipeline, base, pairs, rows, generator, beta=beta)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters_of(pipeline), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def main(command: Sequence[str] | None = None) -> int:
    """Makes preferences, tunes on them, and compares held-out pictures."""
    given, started = arguments(__doc__, command, steps=40, pairs=64, rate=1e-3, beta=500.0), time.monotonic()
    rewards, before = read_rewards(given.folder), read_generator(given.folder)
    pairs = preferences_of(before, rewards["reward"], prompts_of("train", given.pairs), seed=given.seed)
    tuned = copy_of(before)
    losses = tune(tuned, pairs, steps=given.steps, rate=given.rate, beta=given.beta, seed=given.seed)
    last = losses[-20:]
    print(f"loss {losses[0]:.3f} at the first step, {sum(last) / len(last):.3f} over the last {len(last)}")
    tell_change("Preferences (Diffusion-DPO)", rewards, before, tuned, started, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
