"""A LLaVA of real small parts: EfficientNet-Lite0's feature grid, a projector, SmolLM2-135M-Instruct.

::

    image 288 x 288 ─ EfficientNet-Lite0 ─ 9 x 9 cells of 1280 ─ two linear maps ─ 81 tokens ─ SmolLM2

The model is transformers' own ``LlavaForConditionalGeneration``; what is ours is the vision tower, which transformers
does not have. Importing this module makes it known to ``AutoModel``; a process that loads the folder has to do so.
Vision tower and language model are as they were published; the projector between them is new and has learned nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rewardkit  # noqa: F401 (before timm and transformers: it mends broken torchvision builds)

# isort: split
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    CLIPImageProcessor,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from rewardkit.models.mllm.small import chatml

SIDE, CELL, WIDTH = 288, 32, 1280
"""Pixels a side of an image, and of a cell of the grid; numbers in a cell."""

IMAGE_TOKEN = "<image>"


class Lite0GridConfig(PreTrainedConfig):
    """Of ``Lite0Grid``."""

    model_type = "lite0_grid"

    def __init__(self, hidden_size: int = WIDTH, image_size: int = SIDE, patch_size: int = CELL, **rest: Any) -> None:
        self.hidden_size = hidden_size
        self.image_size = image_size
        self.patch_size = patch_size
        super().__init__(**rest)


class Lite0Grid(PreTrainedModel):
    """EfficientNet-Lite0 (ImageNet-1k) up to its last grid of features, as a LLaVA's vision tower; always frozen."""

    config_class = Lite0GridConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Lite0GridConfig) -> None:
        super().__init__(config)
        self.body = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
        self.post_init()
        self.train(False)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Keeps timm's: all weights are loaded."""

    def train(self, mode: bool = True) -> Lite0Grid:
        """Stays in eval mode: batch statistics would let images change each other's features."""
        return super().train(False)

    def forward(self, pixel_values: Tensor, **unused: Any) -> BaseModelOutputWithPooling:
        """Pixels ``[N, 3, 288, 288]`` to cells ``[N, 81, 1280]``."""
        with torch.no_grad():
            cells = self.body.forward_features(pixel_values).flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(last_hidden_state=cells, hidden_states=(cells,))


AutoConfig.register(Lite0GridConfig.model_type, Lite0GridConfig)
AutoModel.register(Lite0GridConfig, Lite0Grid)


def assemble(weights: Path, out: Path, *, seed: int = 0) -> Path:
    """Puts the parts together and saves them as a folder in transformers' layout; done once.

    Args:
        weights: From ``tools/fetch_real_weights.py``.
        out: The folder.
        seed: Of the projector.
    """
    if (out / "model.safetensors").is_file():
        return out
    language = LlamaForCausalLM.from_pretrained(weights / "SmolLM2-135M-Instruct", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(weights / "SmolLM2-135M-Instruct")
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    tokenizer.chat_template = chatml(IMAGE_TOKEN)
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=Lite0GridConfig(),
            text_config=language.config,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            image_seq_length=(SIDE // CELL) ** 2,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            tie_word_embeddings=True,
        )
    )
    tower = load_file(weights / "efficientnet_lite0" / "model.safetensors")
    told = model.model.vision_tower.body.load_state_dict(tower, strict=False)
    assert not told.missing_keys and set(told.unexpected_keys) == {"classifier.weight", "classifier.bias"}, told
    model.model.language_model.load_state_dict(language.model.state_dict(), strict=True)
    model.tie_weights()
    _size_projector(model)
    model.save_pretrained(out)
    _processor(tokenizer).save_pretrained(out)
    return out


def _size_projector(model: Any) -> None:
    """Brings what the projector says of noise to the size of the language model's own embeddings."""
    with torch.no_grad():
        said = torch.cat(list(model.model.get_image_features(torch.randn(4, 3, SIDE, SIDE)).pooler_output))
        words = model.get_input_embeddings().weight
        model.model.multi_modal_projector.linear_2.weight *= words.square().mean().sqrt() / said.square().mean().sqrt()


def _processor(tokenizer: Any) -> LlavaProcessor:
    images = CLIPImageProcessor(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=CELL,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=0,
    )
