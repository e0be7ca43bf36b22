"""Opens a published ImageReward.pt as the reward that it is, without a recipe.

The file holds tensors only. Sizes are read from their shapes; what shapes cannot tell comes from ``med_config.json``
beside the file, where there is one (as in the hub's zai-org/ImageReward), else it is BLIP's: heads of 64, dropout 0.1.
The tokenizer comes from ``vocab.txt`` or ``tokenizer.json`` beside the file, else from bert-base-uncased of the hub.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from rewardkit.data.images import ImageTransform
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.blip import IMAGEREWARD_MEAN, IMAGEREWARD_STD, TEXT_LENGTH, BLIPReward, check_vocabulary
from rewardkit.models.blip_architecture import build_blip_towers
from rewardkit.models.blip_checkpoint import architecture_of, layout_of, load_state
from rewardkit.models.blip_head import BlipHead
from rewardkit.models.blip_tokenizers import read_blip_tokenizer
from rewardkit.models.checkpoints import read_weights


def read_imagereward(
    path: str | Path, *, text_length: int = TEXT_LENGTH, tokenizer: str | None = None, dimension: str = "overall"
) -> BLIPReward:
    """The published reward: its transform, its tokenizer, 35 tokens, and scores normalised by its own constants.

    Args:
        path: ImageReward.pt, or a file of that layout (a ``state_dict`` with or without ``module.``).
        text_length: Tokens that are read of a prompt.
        tokenizer: A folder or a name on the hub instead of what this module's text says.
        dimension: What to call the one thing that it judges.

    Raises:
        UserError: There is no such file, or no tokenizer.
        CheckpointError: The file is of another layout, or does not fit.
    """
    path = Path(path)
    state = read_weights(path)
    try:
        layout = layout_of(state, path)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}. A weight file can be opened by itself only where it is an ImageReward.pt; other weights are "
            "named as model.pretrained of a recipe"
        ) from None
    if layout != "imagereward":
        raise UserError(
            f"{path} holds BLIP's towers without a reward's head; train one from it with "
            f"`fit recipe=imagereward model.pretrained={path}`"
        )
    architecture = architecture_of(state, name=path.stem, text_config=_med_config(path.parent))
    beside = any((path.parent / name).is_file() for name in ("vocab.txt", "tokenizer.json"))
    source = tokenizer or (str(path.parent) if beside else architecture.tokenizer)
    reader = read_blip_tokenizer(source, context_length=text_length)
    check_vocabulary(architecture, reader)
    with torch.random.fork_rng(devices=[]):  # Loading a model must not move the caller's random numbers.
        towers = build_blip_towers(architecture)
        head = BlipHead("mlp", towers.width, 1)
    load_state(towers, head, state, layout=layout, source=str(path))
    model = BLIPReward(
        towers,
        head,
        architecture=architecture,
        dimensions=(dimension,),
        transform=ImageTransform(size=architecture.image_size, resize="crop"),
        tokenizer=reader,
        output="normalised",
        mean=[IMAGEREWARD_MEAN],
        std=[IMAGEREWARD_STD],
    )
    return model.eval()


def _med_config(folder: Path) -> dict[str, object] | None:
    file = folder / "med_config.json"
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is a {type(content).__name__}, not an object")
    return content
