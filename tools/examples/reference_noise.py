"""Starts a generator from a noised reference picture instead of pure noise, and says what that does to a reward.

::

    python tools/examples/prepare.py FOLDER
    python tools/examples/reference_noise.py FOLDER [--strengths 0.95,0.9,0.8,0.6] [--out OUT]

HPS v2 (arXiv 2306.09341) measures two improvements that need no training: words of a style behind the prompt, and an
initial noise that comes from a reference image. Here the reference is a real picture whose caption is nearest to the
prompt (most words in common); it is noised to the timestep at ``strength`` of the schedule, and denoising starts there.
Strength 1 is pure noise, which is the comparison. Which references and which strength the paper took is not known to
us: both are choices of this script. The lower the strength, the more of the reference is left in the picture: so the
table also says how near the result is to its reference.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from held_out import PROMPTS, arguments, compare, prompts_of, read_generator, read_rewards, tell
from prepare import read_pictures
from tiny_generator import STEPS, TinyPipeline, noise, to_latents
from torch import Tensor

from rewardkit.cli import explained
from rewardkit.errors import UserError


def nearest_captions(prompts: Sequence[str], captions: Sequence[str]) -> list[int]:
    """For each prompt the place of the caption with the largest share of words in common; the first of equals."""
    known = [set(caption.lower().replace(",", "").split()) for caption in captions]
    found = []
    for prompt in prompts:
        words = set(prompt.lower().replace(",", "").split())
        shares = [len(words & other) / len(words | other) for other in known]
        found.append(max(range(len(shares)), key=shares.__getitem__))
    return found


def first_step(strength: float, steps: int) -> int:
    """How many denoising steps are left out at a strength in (0, 1]; 0 at 1, and one step is always taken.

    Raises:
        UserError: Another strength.
    """
    if not 0 < strength <= 1:
        raise UserError(f"strength {strength}: above 0 (the reference itself) and at most 1 (pure noise)")
    return min(steps - 1, steps - round(strength * steps))


def strengths_of(text: str) -> list[float]:
    """Strengths with commas between them.

    Raises:
        UserError: One that is no number in (0, 1].
    """
    try:
        strengths = [float(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--strengths {text}: numbers with commas between them, as 0.9,0.6") from None
    for strength in strengths:
        first_step(strength, STEPS)
    return strengths


def start_from(
    pipeline: TinyPipeline, references: Tensor, strength: float, generator: torch.Generator, *, steps: int = STEPS
) -> tuple[Tensor, int]:
    """Initial latents from references, and the steps to leave out.

    Args:
        pipeline: Whose schedule it is.
        references: ``[N, 3, 32, 32]`` in [0, 1].
        strength: 1: pure noise, as without a reference.
        generator: Draws the noise.
        steps: Of the whole schedule.
    """
    drawn = noise(len(references), generator)
    first = first_step(strength, steps)
    if strength == 1:
        return drawn, 0
    pipeline.scheduler.set_timesteps(steps)
    timestep = pipeline.scheduler.timesteps[first]
    return pipeline.scheduler.add_noise(to_latents(references), drawn, timestep.expand(len(references))), first


def pictures_from(
    pipeline: TinyPipeline, prompts: Sequence[str], references: Tensor, strength: float, *, seed: int
) -> Tensor:
    """A picture of each prompt, started from its reference."""
    latents, first = start_from(pipeline, references, strength, torch.Generator().manual_seed(seed))
    return pipeline(prompts, seed=seed, latents=latents, first=first)


def main(command: Sequence[str] | None = None) -> int:
    """Compares strengths with pure noise on held-out prompts."""
    given, started = arguments(__doc__, command, strengths="0.95,0.9,0.8,0.6"), time.monotonic()
    strengths = strengths_of(given.strengths)
    rewards, pipeline = read_rewards(given.folder), read_generator(given.folder)
    pictures, captions = read_pictures(given.folder)
    prompts = prompts_of("val", PROMPTS)
    references = pictures[nearest_captions(prompts, captions)].float() / 255
    seeds = (1000 + given.seed, 2000 + given.seed)
    texts = prompts * len(seeds)
    plain = torch.cat([pictures_from(pipeline, prompts, references, 1.0, seed=seed) for seed in seeds])
    for strength in strengths:
        started_from = torch.cat([pictures_from(pipeline, prompts, references, strength, seed=seed) for seed in seeds])
        away = [float((some - references.repeat(len(seeds), 1, 1, 1)).abs().mean()) for some in (plain, started_from)]
        title = f"Strength {strength:g}: distance to the reference {away[1]:.3f} (pure noise {away[0]:.3f})"
        out = None if given.out is None else given.out / f"strength-{strength:g}"
        tell(title, compare(rewards, plain, started_from, texts), started, out, references, plain, started_from)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
