"""A published CLIP named by its folder on the command line: in transformers' layout (PickScore) or in open_clip's."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from rewardkit.models.bundle import bundle_record
from rewardkit.models.bundle_record import digest_of
from rewardkit.models.clip import Output, build_clip_reward
from rewardkit.models.load import LoadedReward
from rewardkit.models.pretrained_folder import HUB, OPEN_CLIP_CONFIG, find_folder, is_published


def names_folder(name: str) -> bool:
    """Whether a name is that of such a folder, or of a repository on the hub (``hf-hub:OWNER/NAME``)."""
    return name.startswith(HUB) or is_published(Path(name))


def open_folder(name: str, device: torch.device) -> LoadedReward:
    """Loads a CLIP's folder as a reward of the one dimension ``overall``, with the folder's own transform.

    A score is what the folder's own library gives: for transformers' layout the logit, which is ``logits_per_image`` of
    ``CLIPModel`` and PickScore's score; for open_clip's the cosine.

    Raises:
        UserError: The folder holds another kind of model.
        CheckpointError: What is there is damaged or does not fit, or the hub cannot be reached.
    """
    folder = find_folder(name)
    assert folder is not None, f"{name} is no folder"
    output: Output = "cosine" if (folder / OPEN_CLIP_CONFIG).is_file() else "logit"
    with torch.random.fork_rng(devices=[]):  # Opening a model must not move the caller's random numbers.
        model = build_clip_reward(architecture="auto", pretrained=str(folder), output=output)
    with tempfile.TemporaryDirectory() as scratch:  # what a record names lies in a bundle; here there is none
        record = bundle_record(model, Path(scratch))
    record["weights"] = {"sha256": digest_of([f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin")])}
    return LoadedReward(model.to(device).eval().requires_grad_(False), record)
