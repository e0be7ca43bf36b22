"""Encoding by frozen towers: equal to the model's own forward, the same bytes each time, bad images named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardkit.data.features import FeatureShards, feature_folder
from rewardkit.data.images import decode_image, resize_uint8
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import CheckpointError
from rewardkit.models.clip import CLIPReward
from rewardkit.models.feature_encoding import FeatureEncoder, freeze_towers, parts_of, towers_digest


def encoder(model: CLIPReward, **options: object) -> FeatureEncoder:
    values = {"device": torch.device("cpu"), "precision": "32", "dtype": "float32", "images": 7, "workers": 0}
    return FeatureEncoder(model, **{**values, **options})  # type: ignore[arg-type]


def encode(model: CLIPReward, source: Path, folder: Path, **options: object) -> FeatureShards:
    index = ShardIndex.open(source)
    place = feature_folder(folder, "x", max_bytes=10**9, about={})
    counted: list[int] = []
    encoder(model, **options).encode(index, iter(range(len(index.shards))), place, progress=counted.append)
    assert sum(counted) == index.candidates.sum()
    return FeatureShards(place, index)


def test_features_are_the_models_own(
    tiny: Callable[..., CLIPReward], demo_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model = tiny()
    model.train()
    features = encode(model, demo_folders[1], tmp_path)
    assert model.training, "left as it was"
    sample = features.index.sample(6)
    pixels = torch.stack([resize_uint8(decode_image(data), model.transform) for data in sample.images])
    with torch.no_grad():
        scores = model.eval().score(pixels, [sample.group.prompt], torch.zeros(4).long())
        group = features.group(6)
        mine = model.cosines(torch.tensor(group.image), torch.tensor(group.text), torch.zeros(4).long())
    assert group.image.dtype == np.float32
    torch.testing.assert_close(mine, scores, atol=1e-6, rtol=0)


def test_the_same_bytes_whatever_the_order_and_the_workers(
    tiny: Callable[..., CLIPReward], demo_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model = tiny()
    index = ShardIndex.open(demo_folders[1])
    assert len(index.shards) == 2
    folders = [feature_folder(tmp_path / name, "x", max_bytes=10**9, about={}) for name in "ab"]
    encoder(model).encode(index, iter([0, 1]), folders[0], progress=lambda n: None)
    encoder(model, workers=1).encode(index, iter([1, 0]), folders[1], progress=lambda n: None)
    names = sorted(path.name for path in folders[0].glob("0*"))
    assert len(names) == 6
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_bad_image_is_named_and_its_row_is_zero(
    tiny: Callable[..., CLIPReward], demo_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    index = ShardIndex.open(demo_folders[1])
    source = tmp_path / "source"
    with ShardWriter(source, "val", max_groups=5) as writer:
        for position in range(len(index)):
            sample = index.sample(position)
            images = [b"broken" if (position, n) == (5, 2) else data for n, data in enumerate(sample.images)]
            writer.write(sample.group, images)
    build_index(source)
    features = encode(tiny(), source, tmp_path)
    group = features.group(5)
    assert (group.image[2] == 0).all() and (np.abs(group.image[[0, 1, 3]]).sum(1) > 0).all()
    assert list(group.bad) == [2] and ".2.jpg: " in group.bad[2]
    assert not features.group(4).bad and not features.group(6).bad


def test_half_precision_is_stored_on_request_and_overflow_is_refused(
    tiny: Callable[..., CLIPReward], demo_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    model = tiny()
    assert encode(model, demo_folders[1], tmp_path, dtype="float16").group(0).image.dtype == np.float16
    with torch.no_grad():
        model.clip.visual.proj.mul_(1e8)
    with pytest.raises(CheckpointError, match="feature_dtype=float32"):
        encode(model, demo_folders[1], tmp_path / "again", dtype="float16")


def test_the_digest_follows_what_a_feature_follows_from(tiny: Callable[..., CLIPReward]) -> None:
    model = tiny()
    before = towers_digest(model)
    with torch.no_grad():
        model.logit_scale.add_(1)
    assert towers_digest(model) == before == towers_digest(tiny())
    assert towers_digest(tiny(seed=1)) != before
    model.transform = replace(model.transform, resize="squash")
    assert towers_digest(model) != before


def test_all_but_the_head_and_the_scale_is_frozen(tiny: Callable[..., CLIPReward], foreign_towers: Path) -> None:
    from rewardkit.models.clip import build_clip_reward

    for model in (
        tiny(dimensions=("a", "b")),
        build_clip_reward(architecture=foreign_towers, dimensions=("a", "b"), unlocked_image_groups=0),
    ):
        freeze_towers(model)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained == {"clip.logit_scale", "head.image", "head.text"}


def test_parts_never_cut_a_group(demo_folders: tuple[Path, Path]) -> None:
    index = ShardIndex.open(demo_folders[0])
    parts = list(parts_of(index, iter([1, 0]), images=9))  # groups of 4
    assert [(p.shard, p.positions, p.last) for p in parts] == [
        (1, range(5, 7), False), (1, range(7, 9), False), (1, range(9, 10), True),
        (0, range(2), False), (0, range(2, 4), False), (0, range(4, 5), True),
    ]  # fmt: skip
    assert [len(p.positions) for p in parts_of(index, iter([0]), images=1)] == [1] * 5
