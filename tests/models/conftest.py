"""Small CLIPs for the tests of this folder: open_clip's two layouts, and towers of timm and transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardkit.models.architecture import read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3},
}
"""An open_clip configuration in the layout of HPS v2."""

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "dog", "photo", "of", "two"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny() -> Callable[..., CLIPReward]:
    """Builds a tiny reward with weights that are not those of the initialisation, in eval mode."""

    def build(*, seed: int = 0, config: dict[str, Any] | None = None, **options: Any) -> CLIPReward:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_clip_reward(architecture=read_architecture({**TINY, **(config or {})}), **options)
            with torch.no_grad():
                for parameter in [*model.clip.parameters(), *model.head.parameters()]:
                    if parameter.ndim > 0 and parameter.numel() > 1:
                        parameter.add_(0.05 * torch.randn_like(parameter))
        return model.eval()

    return build


@pytest.fixture
def foreign_towers(tmp_path: Path) -> Path:
    """The JSON configuration of a timm image tower and a transformers text tower, both with weights in local files."""
    import timm
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path / "towers"
    text = folder / "bert"
    text.mkdir(parents=True)
    torch.manual_seed(0)
    (text / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(text / "vocab.txt")).save_pretrained(text)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(text)
    # The classifier of an ImageNet checkpoint has to be left out by the loader.
    save_file(timm.create_model("test_efficientnet", num_classes=7).state_dict(), folder / "image.safetensors")
    (folder / "pair.json").write_text(
        json.dumps(
            {
                "embed_dim": 8,
                "vision_cfg": {
                    "timm_model_name": "test_efficientnet",
                    "image_size": 64,
                    "timm_weights": "image.safetensors",
                },
                "text_cfg": {
                    "hf_model_name": "bert",
                    "hf_pooler_type": "mean_pooler",
                    "hf_proj_type": "linear",
                    "context_length": 32,
                },
            }
        )
    )
    return folder / "pair.json"
