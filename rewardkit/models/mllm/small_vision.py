"""The vision tower of the demo's small LLaVA: a few convolutions, as one of transformers' models.

From scratch on a few ten thousand drawn images, overlapping convolutions of stride 2 learn faults that towers which
begin with patches (ViT, ConvNeXt, FocalNet) do not see in that time. Importing this module makes the tower known to
``AutoModel``; a process that loads a folder with it has to do so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from rewardkit.models.mllm.small_llava import SMALL_GRID

STRIDE = 16
"""Pixels a side of a cell: four convolutions of stride 2."""

_GROUPS = 4
"""Of the group norms."""


class SmallGridConfig(PreTrainedConfig):
    """Of ``SmallGrid``.

    Attributes:
        width: Channels of the first convolution, a multiple of 8.
        image_size: Side of the square image, pixels; a multiple of 16.
        hidden_size: Numbers of a cell: five times ``width``.
    """

    model_type = SMALL_GRID

    def __init__(self, width: int = 24, image_size: int = 64, **rest: Any) -> None:
        self.width = width
        self.image_size = image_size
        self.patch_size = STRIDE
        rest["hidden_size"] = 5 * width
        super().__init__(**rest)


class SmallGrid(PreTrainedModel):
    """Pixels to a grid of cells. Group norm: batch-mates never change a score, in training either."""

    config_class = SmallGridConfig
    main_input_name = "pixel_values"

    def __init__(self, config: SmallGridConfig) -> None:
        super().__init__(config)
        w = config.width
        channels = (3, w, 3 * w // 2, 5 * w // 2, 5 * w // 2, 5 * w)
        widths = zip(channels[:-1], channels[1:], (2, 2, 2, 1, 2), strict=True)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, s, padding=1), nn.GroupNorm(_GROUPS, o), nn.GELU()) for i, o, s in widths
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Keeps torch's."""

    def forward(self, pixel_values: Tensor, **unused: Any) -> BaseModelOutputWithPooling:
        """Pixels ``[N, 3, S, S]`` to cells ``[N, (S / 16)², 5 width]``."""
        grid = pixel_values
        for layer in self.layers:
            grid = layer(grid)
        cells = grid.flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(last_hidden_state=cells, hidden_states=(cells,))


AutoConfig.register(SmallGridConfig.model_type, SmallGridConfig)
AutoModel.register(SmallGridConfig, SmallGrid)
