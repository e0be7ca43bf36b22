"""A text-to-image generator of diffusers small enough to be tuned on one core: what the examples of this folder tune.

A UNet2DModel on 32 px pictures, two by two pixels folded into twelve channels (in place of a VAE); a prompt is the mean
of its words' embeddings, which the UNet takes beside the timestep. It is pre-trained on the pictures of the embedded
dataset under their true captions. Import rewardkit first (see ``rewardkit/_torchvision.py``).
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rewardkit  # noqa: F401
from rewardkit.data.images import ImageTransform, decode_image, resize_uint8
from rewardkit.data.index import ShardIndex

from diffusers import ConfigMixin, DDIMScheduler, DiffusionPipeline, ModelMixin, UNet2DModel  # isort: skip
from diffusers.configuration_utils import register_to_config  # isort: skip

SIZE = 32
"""Side of its pictures, pixels."""
FOLD = 2
"""Pixels of each side that are folded into channels."""
LATENT = (3 * FOLD * FOLD, SIZE // FOLD, SIZE // FOLD)
"""Shape of what the UNet denoises."""
STEPS = 12
"""Denoising steps of a picture."""


class Words(ModelMixin, ConfigMixin):
    """The text encoder: the mean of the words' embeddings, words told apart by a hash.

    Args:
        width: Of the embedding, the UNet's for the timestep.
        buckets: Different words that it can tell apart.
    """

    @register_to_config
    def __init__(self, width: int = 64, buckets: int = 512) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(buckets, width, mode="mean")
        self.out = nn.Linear(width, width)
        self.buckets = buckets

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """N texts to ``[N, width]``."""
        rows = [[zlib.crc32(word.encode()) % self.buckets for word in prompt.lower().split()] for prompt in prompts]
        flat = torch.tensor([row for words in rows for row in words], device=self.device, dtype=torch.int64)
        starts = torch.tensor([0, *[len(words) for words in rows][:-1]], device=self.device).cumsum(0)
        embedded: Tensor = self.out(self.table(flat, starts))
        return embedded


class TinyPipeline(DiffusionPipeline):
    """The pipeline: prompts in, pictures ``[N, 3, 32, 32]`` in [0, 1] out."""

    def __init__(self, unet: UNet2DModel, words: Words, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, words=words, scheduler=scheduler)

    def predict(self, latents: Tensor, timestep: Tensor | int, text: Tensor) -> Tensor:
        """The clean picture in noisy ``latents [N, 12, 16, 16]``, from which the scheduler has the noise."""
        predicted: Tensor = self.unet(latents, timestep, class_labels=text).sample
        return predicted

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seed: int,
        steps: int = STEPS,
        latents: Tensor | None = None,
        first: int = 0,
        eta: float = 0.0,
    ) -> Tensor:
        """Makes one picture for each prompt.

        Args:
            prompts: N texts.
            seed: Of the initial noise, and of the steps' where ``eta`` is above 0.
            steps: Denoising steps.
            latents: Where to start; None: noise.
            first: Steps to leave out at the beginning, for latents that are less than all noise.
            eta: 0: DDIM; 1: as much noise in each step as DDPM.
        """
        generator = torch.Generator().manual_seed(seed)
        latents = noise(len(prompts), generator) if latents is None else latents
        self.scheduler.set_timesteps(steps)
        text = self.words(prompts)
        for timestep in self.scheduler.timesteps[first:]:
            predicted = self.predict(latents, timestep, text)
            latents = self.scheduler.step(predicted, timestep, latents, eta=eta, generator=generator).prev_sample
        return to_pixels(latents)


def noise(count: int, generator: torch.Generator) -> Tensor:
    """Standard normal ``[count, 12, 16, 16]``."""
    return torch.randn(count, *LATENT, generator=generator)


def to_pixels(latents: Tensor) -> Tensor:
    """Latents ``[N, 12, 16, 16]`` to pictures ``[N, 3, 32, 32]`` in [0, 1]; differentiable."""
    return (F.pixel_shuffle(latents, FOLD) / 2 + 0.5).clamp(0, 1)


def to_latents(pixels: Tensor) -> Tensor:
    """The inverse of ``to_pixels``, of float pictures in [0, 1]."""
    return F.pixel_unshuffle(2 * pixels - 1, FOLD)


def build_pipeline(seed: int = 0, channels: tuple[int, int] = (16, 32)) -> TinyPipeline:
    """The pipeline with random weights; 0.2 million with the channels given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=LATENT[1],
            in_channels=LATENT[0],
            out_channels=LATENT[0],
            layers_per_block=1,
            block_out_channels=channels,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            add_attention=False,
            class_embed_type="identity",
            norm_num_groups=8,
        )
        words = Words(width=4 * channels[0])
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",  # little training makes blurred pictures so; predicted noise would make noise
        clip_sample=True,
        timestep_spacing="trailing",
    )
    return TinyPipeline(unet.eval(), words.eval(), scheduler)


def copy_of(pipeline: TinyPipeline) -> TinyPipeline:
    """Another generator with the same weights."""
    return TinyPipeline(copy.deepcopy(pipeline.unet), copy.deepcopy(pipeline.words), pipeline.scheduler)


def read_pipeline(folder: Path) -> TinyPipeline:
    """A generator that ``write_pipeline`` wrote."""
    pipeline = build_pipeline()
    unet, words = UNet2DModel.from_pretrained(folder / "unet"), Words.from_pretrained(folder / "words")
    return TinyPipeline(unet.eval(), words.eval(), pipeline.scheduler)


def write_pipeline(pipeline: TinyPipeline, folder: Path) -> None:
    """Writes both networks as diffusers does."""
    pipeline.unet.save_pretrained(folder / "unet")
    pipeline.words.save_pretrained(folder / "words")


def parameters_of(pipeline: TinyPipeline) -> list[nn.Parameter]:
    """All that is trained."""
    return [*pipeline.unet.parameters(), *pipeline.words.parameters()]


def denoising_errors(pipeline: TinyPipeline, latents: Tensor, text: Tensor, timesteps: Tensor, drawn: Tensor) -> Tensor:
    """Squared error of the predicted picture, mean over its values: ``[N]``.

    A generator that predicts noise has the noise's error here; one is the other times a factor of the timestep.

    Args:
        pipeline: The generator.
        latents: ``[N, 12, 16, 16]``, clean.
        text: ``[N, width]``, embedded prompts.
        timesteps: int64 ``[N]``.
        drawn: Noise of the latents' shape.
    """
    noisy = pipeline.scheduler.add_noise(latents, drawn, timesteps)
    return (pipeline.predict(noisy, timesteps, text) - latents).square().mean(dim=(1, 2, 3))


def pretraining_loss(
    pipeline: TinyPipeline, pictures: Tensor, captions: Sequence[str], generator: torch.Generator
) -> Tensor:
    """The loss that diffusion models are trained with (Ho et al. 2020, arXiv 2006.11239, eq. 14), of the picture.

    Args:
        pipeline: The generator.
        pictures: uint8 ``[N, 3, 32, 32]``.
        captions: N texts.
        generator: Draws timesteps and noise.
    """
    timesteps = torch.randint(0, pipeline.scheduler.config.num_train_timesteps, (len(pictures),), generator=generator)
    latents = to_latents(pictures.float() / 255)
    return denoising_errors(
        pipeline, latents, pipeline.words(captions), timesteps, noise(len(pictures), generator)
    ).mean()


def pretrain(
    pipeline: TinyPipeline, pictures: Tensor, captions: Sequence[str], *, steps: int, batch: int = 32, seed: int = 0
) -> list[float]:
    """Trains a generator on pictures and their captions, with a cosine of the rate to 0; gives the losses."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(parameters_of(pipeline), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    for _ in range(steps):
        rows = torch.randint(0, len(pictures), (batch,), generator=generator)
        loss = pretraining_loss(pipeline, pictures[rows], [captions[row] for row in rows.tolist()], generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters_of(pipeline), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def pictures_of(shards: Path, *, most: int | None = None) -> tuple[Tensor, list[str]]:
    """Pictures uint8 ``[N, 3, 32, 32]`` of shards of the embedded dataset, and what each one shows."""
    index, transform = ShardIndex.open(shards), ImageTransform(size=SIZE, resize="squash")
    pictures: list[Tensor] = []
    captions: list[str] = []
    for position in range(len(index)):
        sample = index.sample(position)
        shown: Any = sample.group.slots["captions"]
        pictures += [resize_uint8(decode_image(image), transform) for image in sample.images]
        captions += shown
        if most is not None and len(pictures) >= most:
            break
    return torch.stack(pictures[:most]), captions[:most]
