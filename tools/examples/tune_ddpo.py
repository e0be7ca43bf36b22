"""Tunes a generator by policy gradients with PPO's clip, the first of VisionPrefer's two ways.

::

    python tools/examples/prepare.py FOLDER
    python tools/examples/tune_ddpo.py FOLDER [--on reward] [--rounds 4] [--out OUT]

DDPO (Black et al. 2023, arXiv 2305.13301): denoising is a policy whose action is the next, less noisy picture, normal
around DDIM's mean. Each round makes several pictures of each prompt, takes the reward of each against the others of its
prompt as advantage, and makes the steps of good pictures more likely; the ratio to the policy that acted is clipped.
``--on reward`` tunes on the prepared reward, which does not rise in so little time (docs/tuning_generators.md); the
default is brightness, which does. The reward needs no gradient: what the trainer calls is ``adapters.ddpo_reward``, the
function that TRL's DDPOTrainer takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from held_out import arguments, prompts_of, read_generator, read_rewards, tell_change
from tiny_generator import STEPS, TinyPipeline, copy_of, noise, parameters_of, to_pixels
from torch import Tensor

from rewardkit.cli import explained
from rewardkit.errors import UserError
from rewardkit.rewards.adapters import ddpo_reward
from rewardkit.rewards.tuning_losses import clipped_policy_loss, group_advantages


@dataclass(frozen=True)
class Walk:
    """How pictures came to be: K steps that were drawn, of N pictures.

    Attributes:
        timesteps: ``[K]``.
        states: ``[K + 1, N, 12, 16, 16]``; step k went from state k to state k + 1.
        log_probs: ``[K, N]`` of the steps under the policy that drew them.
        pictures: ``[N, 3, 32, 32]``.
    """

    timesteps: Tensor
    states: Tensor
    log_probs: Tensor
    pictures: Tensor


def step_log_prob(
    pipeline: TinyPipeline, text: Tensor, timestep: Tensor, state: Tensor, following: Tensor | None, drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """One denoising step with as much noise as DDPM's (eta = 1), and how likely it was.

    Args:
        pipeline: The policy.
        text: Embedded prompts.
        timestep: ``[]``.
        state: ``[N, 12, 16, 16]``.
        following: The state that was gone to; None draws one with ``drawn``.
        drawn: Standard normal of the state's shape.

    Returns:
        The following state, and its log density ``[N]``: a mean over values, as DDPO's code takes it, so that the ratio
        does not depend on the number of pixels.
    """
    predicted = pipeline.predict(state, timestep, text)
    plain = pipeline.scheduler.step(predicted, timestep, state)
    std, (_, then) = step_std(pipeline, timestep), alphas_of(pipeline, timestep)
    # DDIM's step (arXiv 2010.02502, eq. 12) at eta = 1 from that at 0. The scheduler's own takes the root of a number
    # that is 0 but for rounding where the picture is all noise, and gives NaN.
    picture = then.sqrt() * plain.pred_original_sample
    mean = picture + (plain.prev_sample - picture) * ((1 - then - std**2).clamp(min=0) / (1 - then)).sqrt()
    if following is None:
        following = (mean + std * drawn).detach()
    log_density = -0.5 * ((following - mean) / std) ** 2 - torch.log(std) - 0.5 * torch.log(torch.tensor(2 * torch.pi))
    return following, log_density.mean(dim=(1, 2, 3))


def step_std(pipeline: TinyPipeline, timestep: Tensor) -> Tensor:
    """Standard deviation of a step at eta = 1 (Song et al. 2020, arXiv 2010.02502, eq. 16), ``[]``; 0 at the last."""
    now, then = alphas_of(pipeline, timestep)
    return ((1 - then) / (1 - now) * (1 - now / then)).sqrt()


def alphas_of(pipeline: TinyPipeline, timestep: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the picture's variance before and after a step, ``[]`` each (the scheduler's alphas_cumprod)."""
    scheduler = pipeline.scheduler
    following = timestep - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    then = scheduler.alphas_cumprod[following] if following >= 0 else scheduler.final_alpha_cumprod
    return scheduler.alphas_cumprod[timestep], then


@torch.no_grad()
def walk(pipeline: TinyPipeline, prompts: Sequence[str], generator: torch.Generator, *, steps: int = STEPS) -> Walk:
    """Makes a picture of each prompt and remembers how; the last step has no noise and is no action."""
    pipeline.scheduler.set_timesteps(steps)
    *acting, last = pipeline.scheduler.timesteps
    text = pipeline.words(prompts)
    states, log_probs = [noise(len(prompts), generator)], []
    for timestep in acting:
        drawn = noise(len(prompts), generator)
        state, log_prob = step_log_prob(pipeline, text, timestep, states[-1], None, drawn)
        states.append(state)
        log_probs.append(log_prob)
    clean = pipeline.scheduler.step(pipeline.predict(states[-1], last, text), last, states[-1]).prev_sample
    return Walk(torch.stack(acting), torch.stack(states), torch.stack(log_probs), to_pixels(clean))


def tune(
    pipeline: TinyPipeline,
    score: Callable[..., tuple[Tensor, object]],
    prompts: Sequence[str],
    *,
    rounds: int,
    prompts_per_round: int = 6,
    pictures_per_prompt: int = 8,
    rate: float = 5e-4,
    clip: float = 0.05,
    steps: int = STEPS,
    seed: int = 0,
) -> list[float]:
    """Tunes a generator in place; gives the mean reward of each round.

    Args:
        pipeline: The generator.
        score: Pictures, prompts and metadata to rewards and metadata.
        prompts: To draw from.
        rounds: Of pictures; each is learned from once, a step of the optimiser for each denoising step.
        prompts_per_round: Different ones.
        pictures_per_prompt: At least two, which are compared.
        rate: Learning rate.
        clip: How far the ratio may leave 1. Log densities are means over values, so ratios stay near 1: DDPO's code has
            1e-4 for a large generator; 1e-3 did not raise a reward of so small a one.
        steps: Denoising steps.
        seed: Of all that is random.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(parameters_of(pipeline), lr=rate, weight_decay=0.0)
    means = []
    for _ in range(rounds):
        chosen = torch.randperm(len(prompts), generator=generator)[:prompts_per_round].tolist()
        texts = [prompts[row] for row in chosen for _ in range(pictures_per_prompt)]
        made = walk(pipeline, texts, generator, steps=steps)
        rewards, _ = score(made.pictures, texts, [{}] * len(texts))
        means.append(float(rewards.mean()))
        learn(pipeline, optimiser, made, texts, group_advantages(rewards, texts), clip=clip, generator=generator)
    return means


def learn(
    pipeline: TinyPipeline,
    optimiser: torch.optim.Optimizer,
    made: Walk,
    texts: Sequence[str],
    advantages: Tensor,
    *,
    clip: float,
    generator: torch.Generator,
) -> list[float]:
    """One step of the optimiser for each denoising step, in random order; gives the losses."""
    losses = []
    for k in torch.randperm(len(made.timesteps), generator=generator).tolist():
        text = pipeline.words(texts)
        _, log_prob = step_log_prob(
            pipeline, text, made.timesteps[k], made.states[k], made.states[k + 1], made.states[k]
        )
        loss = clipped_policy_loss(log_prob, made.log_probs[k], advantages, clip=clip)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters_of(pipeline), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def brightness(pictures: Tensor, prompts: Sequence[str], *, gradient: bool = True) -> Tensor:
    """The mean pixel in tenths above grey ``[N]``: a reward that anybody can check, where every pixel counts alike."""
    return 10 * (pictures.mean(dim=(1, 2, 3)) - 0.5)


def main(command: Sequence[str] | None = None) -> int:
    """Tunes, and compares held-out pictures."""
    given, started = arguments(__doc__, command, on="brightness", rounds=4, rate=2e-3, clip=0.05), time.monotonic()
    if given.on not in ("brightness", "reward"):
        raise UserError(f"--on {given.on}: brightness, or reward")
    rewards, before = read_rewards(given.folder), read_generator(given.folder)
    score = ddpo_reward(rewards["reward"])
    if given.on == "brightness":
        rewards = {"brightness": brightness, **rewards}

        def score(pictures: Tensor, prompts: Sequence[str], metadata: object = None) -> tuple[Tensor, object]:
            return brightness(pictures, prompts), {}

    tuned, prompts = copy_of(before), prompts_of("train", 256)
    means = tune(tuned, score, prompts, rounds=given.rounds, rate=given.rate, clip=given.clip, seed=given.seed)
    print("mean reward of each round:", " ".join(f"{mean:.2f}" for mean in means))
    tell_change("Policy gradients (DDPO)", rewards, before, tuned, started, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(explained(main))
