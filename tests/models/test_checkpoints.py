"""Strict loading: published layouts go in, everything else is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.checkpoints import describe_clip, load_clip, read_weights, strip_wrappers
from rewardkit.models.clip import CLIPReward
from rewardkit.models.export import open_clip_state_dict

Build = Callable[..., CLIPReward]


def equal(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def in_layout(name: str, state: dict[str, torch.Tensor], path: Path) -> Path:
    if name == "safetensors":
        save_file(state, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    content: Any = {
        "plain": state,
        # HPS_v2_compressed.pt, and what the HPS v2 trainer writes.
        "hps_v2": {"state_dict": state},
        "hps_v2_trainer": {"iterations": 4000, "name": "x", "state_dict": state, "optimizer": {"state": {}}},
        "ddp": {f"module.{key}": value for key, value in state.items()},
        "compiled_ddp": {f"module._orig_mod.{key}": value for key, value in state.items()},
        "one_dimensional_scale": {**state, "logit_scale": state["logit_scale"].reshape(1)},
    }[name]
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "layout", ["safetensors", "plain", "hps_v2", "hps_v2_trainer", "ddp", "compiled_ddp", "one_dimensional_scale"]
)
def test_layouts_that_load(tiny: Build, tmp_path: Path, layout: str) -> None:
    source, target = tiny(seed=1), tiny(seed=2)
    assert not equal(source.clip, target.clip)
    state = open_clip_state_dict(source.clip)
    assert state["logit_scale"].shape == (), "the published files hold the scale without axes"
    load_clip(target.clip, in_layout(layout, state, tmp_path / "weights.pt"))
    assert equal(source.clip, target.clip)


def test_weights_in_clip_layout_load_into_a_custom_text_tower(tiny: Build, tmp_path: Path) -> None:
    source, target = tiny(seed=1), tiny(seed=2, config={"custom_text": True})
    load_clip(target.clip, in_layout("hps_v2", open_clip_state_dict(source.clip), tmp_path / "w.pt"))
    tokens = source.tokenizer(["a cat"])
    with torch.no_grad():
        assert torch.equal(source.clip.encode_text(tokens), target.clip.encode_text(tokens))


def test_every_kind_of_misfit_is_named(tiny: Build, tmp_path: Path) -> None:
    model = tiny()
    before = {key: value.clone() for key, value in model.clip.state_dict().items()}
    state = open_clip_state_dict(model.clip)
    del state["visual.proj"]
    state["head.weight"] = torch.zeros(2)
    state["ln_final.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as caught:
        load_clip(model.clip, in_layout("plain", state, tmp_path / "w.pt"))
    message = str(caught.value)
    assert "1 missing in the file: visual.proj" in message
    assert "1 unexpected in the file: head.weight" in message
    assert "ln_final.bias is [5] in the file and [16] in the model" in message
    assert all(torch.equal(value, before[key]) for key, value in model.clip.state_dict().items()), "nothing was loaded"


def test_another_architecture_is_guessed_and_lists_are_cut(tiny: Build, tmp_path: Path) -> None:
    wide = {"vision_cfg": {"image_size": 32, "layers": 5, "width": 64, "head_width": 16, "patch_size": 16}}
    path = in_layout("hps_v2", open_clip_state_dict(tiny(config=wide).clip), tmp_path / "w.pt")
    with pytest.raises(
        CheckpointError, match=r"looks like a ViT of width 64, 5 blocks, .* the model is .*32, 3 blocks"
    ) as e:
        load_clip(tiny().clip, path)
    assert "24 unexpected in the file" in str(e.value) and "and 14 more" in str(e.value)


def test_the_guess_knows_published_names() -> None:
    state = {
        "visual.conv1.weight": torch.empty(1280, 3, 14, 14, device="meta"),
        "visual.proj": torch.empty(1280, 1024, device="meta"),
        "visual.positional_embedding": torch.empty(257, 1280, device="meta"),
        "ln_final.weight": torch.empty(1024, device="meta"),
        **{f"visual.transformer.resblocks.{i}.x": torch.empty(0) for i in range(32)},
        **{f"transformer.resblocks.{i}.x": torch.empty(0) for i in range(24)},
    }
    assert "(ViT-H-14)" in (describe_clip(state) or "")
    assert describe_clip({"conv.weight": torch.zeros(1)}) is None


def test_positional_embeddings_are_never_resized(tiny: Build, tmp_path: Path) -> None:
    larger = {"vision_cfg": {"image_size": 48, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16}}
    path = in_layout("plain", open_clip_state_dict(tiny(config=larger).clip), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="Positional embeddings are never resized"):
        load_clip(tiny().clip, path)


class Harmful:
    def __reduce__(self) -> tuple:
        return (print, ("this must not run",))


def test_files_that_are_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pt"
    with pytest.raises(UserError, match="no weight file"):
        read_weights(path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Harmful()}, path)
    with pytest.raises(CheckpointError, match="more than tensors and is not opened"):
        read_weights(path)
    assert "must not run" not in capsys.readouterr().out
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(path)
    torch.save({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(path)
    (tmp_path / "w.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(tmp_path / "w.safetensors")
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_weights(path)
    torch.save({"step": 3}, path)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_weights(path)


def test_prefixes_that_would_merge_two_tensors_are_refused() -> None:
    tensor = torch.zeros(1)
    assert list(strip_wrappers({"_forward_module.module.a": tensor, "b._orig_mod.c": tensor})) == ["a", "b.c"]
    with pytest.raises(CheckpointError, match="both 'a'"):
        strip_wrappers({"a": tensor, "module.a": tensor})
