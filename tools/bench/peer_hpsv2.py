"""The peer's side of the benches: runs in the environment of ``peers.py`` and drives the published code of HPS v2.

What is called is the package's own: ``HPDDataset`` with ``collate_HPD`` in its ``get_HPD_dataset``, ``train_iters``
with ``HPSLoss``, ``img_score.score``, and the transform that ``create_model_and_transforms`` gives for
``light_augmentation``. Three things are changed, all in the peer's favour or needed to run on a CPU: mixed precision
is the CPU's (the package names CUDA's, which does nothing there), models are built here (the package would fetch
ViT-H-14), and ``turtle``, which it imports by mistake, need not be there.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _torchvision
from worker import Channel, Pace

_torchvision.install()
sys.modules.setdefault("turtle", types.SimpleNamespace(forward=None))  # type: ignore[arg-type]  # needs Tk

import torch  # noqa: E402
from hpsv2.src.open_clip import add_model_config, create_model_and_transforms, get_tokenizer  # noqa: E402
from PIL import Image  # noqa: E402


def main() -> None:
    """Answers until nobody asks any more."""
    channel = Channel()
    while True:
        asked = channel.message()
        if asked.get("threads"):
            torch.set_num_threads(asked["threads"])
        WORK[asked.pop("do")](channel, asked)


def build(name: str, precision: str = "fp32") -> tuple[Any, Any]:
    """A model of random weights and the transform of its images, as the trainer makes them."""
    torch.manual_seed(0)
    if name.endswith(".json"):
        add_model_config(Path(name))
    model, transform, _ = create_model_and_transforms(
        Path(name).stem, None, precision=precision, device="cpu", light_augmentation=True, aug_cfg={}, output_dict=True
    )
    return model, transform


def train(channel: Channel, asked: dict[str, Any]) -> None:
    """The published trainer's own loop, held between steps."""
    from hpsv2.src.training import train as published
    from hpsv2.src.training.data import get_HPD_dataset
    from hpsv2.src.training.params import parse_args
    from hpsv2.src.training.scheduler import cosine_lr

    arguments = ["--batch-size", str(asked["batch"]), "--workers", str(asked["workers"]), "--precision", "fp32"]
    arguments += ["--model", asked["model"], "--light-augmentation"]
    args = parse_args(arguments)
    args.distributed, args.rank, args.local_rank, args.world_size, args.device = False, 0, 0, 1, "cpu"
    args.distill, args.log_every_n_steps = False, 100
    args.batch_size, args.workers = asked["batch"], asked["workers"]
    args.train_data, args.train_folder = asked["data"], asked["images"]
    args.train_data_sample_ratio, args.ignore_in_train = [1.0], [0]
    model, transform = build(asked["model"])
    if asked["unlocked"]:
        model.lock_image_tower(unlocked_groups=asked["unlocked"][0], freeze_bn_stats=False)
        model.lock_text_tower(unlocked_layers=asked["unlocked"][1], freeze_layer_norm=False)
    if asked["precision"] == "bf16":
        published.get_autocast = lambda _: lambda: torch.autocast("cpu", torch.bfloat16)
    data = get_HPD_dataset(args, transform, is_train=True, tokenizer=get_tokenizer("ViT-B-32"))
    data.dataloader = Paced(data.dataloader, Pace(channel))
    steps = 10**9
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=3.3e-6, betas=(0.9, 0.98), eps=1e-6)
    schedule = cosine_lr(optimizer, 3.3e-6, 500, steps)
    published.train_iters(model, {"train": [data]}, steps, optimizer, None, schedule, None, args)


class Paced:
    """Batches without end, held between steps; what is between two of them is the trainer's step."""

    def __init__(self, loader: Any, pace: Pace) -> None:
        self._loader = loader
        self._pace = pace
        self.num_samples = loader.num_samples

    def __iter__(self) -> Iterator[Any]:
        self._pace.begin()
        while True:
            batches = iter(self._loader)
            while True:
                begun = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                waited = time.perf_counter() - begun
                yield batch
                self._pace.stepped(len(batch[1]) // 2, waited)


def parameter_groups(model: Any) -> list[dict[str, Any]]:
    """As the published trainer groups them: no decay of norms, biases and the logit scale."""
    groups: tuple[list[Any], list[Any]] = ([], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            free = parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
            groups[free].append(parameter)
    return [{"params": groups[True], "weight_decay": 0.0}, {"params": groups[False], "weight_decay": 0.35}]


def decode(channel: Channel, asked: dict[str, Any]) -> None:
    """Files through the published transform; one measure for each message, and once its pixels as an array."""
    import numpy as np
    from hpsv2.src.open_clip.transform import image_transform

    torch.set_num_threads(1)
    transform = image_transform(asked["size"], is_train=False, resize_longest_max=True)
    paths = asked["paths"]
    np.save(asked["out"], torch.stack([transform(Image.open(path)) for path in paths]).numpy())
    channel.answer(ready=True)
    while True:
        channel.message()
        begun = time.process_time()
        for path in paths:
            transform(Image.open(path))
        channel.answer(seconds=time.process_time() - begun)


def score(channel: Channel, asked: dict[str, Any]) -> None:
    """Images under their prompts: ``img_score.score``'s path for each image with the model kept, or the call itself."""
    from hpsv2 import img_score

    model, transform = build(asked["model"])
    model.load_state_dict(torch.load(asked["checkpoint"], weights_only=True)["state_dict"])
    model.eval()
    tokenizer = get_tokenizer("ViT-B-32")
    img_score.model_dict.update(model=model, preprocess_val=transform)
    pairs = json.loads(Path(asked["pairs"]).read_text(encoding="utf-8"))
    channel.answer(ready=True)
    while True:
        told = channel.message()
        chosen = pairs[: told["count"]]
        begun, used = time.perf_counter(), time.process_time()
        if told["way"] == "published":
            scores = [img_score.score(path, prompt, cp=asked["checkpoint"])[0] for path, prompt in chosen]
        else:
            scores = [score_one(model, transform, tokenizer, path, prompt) for path, prompt in chosen]
        seconds, processor = time.perf_counter() - begun, time.process_time() - used
        channel.answer(seconds=seconds, processor_seconds=processor, scores=[float(score) for score in scores])


@torch.no_grad()
def score_one(model: Any, transform: Any, tokenizer: Any, path: str, prompt: str) -> float:
    """What ``img_score.score`` does with one image, without loading the checkpoint again."""
    image = transform(Image.open(path)).unsqueeze(0)
    output = model(image, tokenizer([prompt]))
    return float(torch.diagonal(output["image_features"] @ output["text_features"].T)[0])


def hello(channel: Channel, asked: dict[str, Any]) -> None:
    """Says that it lives: the environment works."""
    channel.answer(torch=torch.__version__)


WORK = {"train": train, "decode": decode, "score": score, "hello": hello}

if __name__ == "__main__":
    main()
