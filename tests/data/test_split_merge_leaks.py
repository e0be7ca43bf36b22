"""Splits lose nothing and leak nothing; merged sets hold all."""

import io

import pytest
from PIL import Image

from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import Answer, Candidate, Group, Ranking
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.leaks import find_leaks
from rewardkit.data.leaks_sides import ShardSide
from rewardkit.data.merge import merge_shards
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.split import split_shards
from rewardkit.errors import DataError, UserError

GENERATORS = ("sdxl", "glide", "dalle", "own")


def png(*colour):
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


def group(n, prompt, generators=GENERATORS, **labels):
    ranks = tuple(float(r) for r in range(1, len(generators) + 1))
    labels = labels or {
        "rankings": (Ranking("overall", "ann", ranks),),
        "answers": (Answer("realism", 0, "bo", 1.0), Answer("realism", 1, "bo", 5.0), Answer("realism", 2, "bo", 3.0)),
    }
    return Group(f"g{n}", prompt, tuple(Candidate(f"{n}{g}.png", g) for g in generators), **labels)


def shards(folder, groups, image=lambda n, k: png(n, k, 7)):
    with ShardWriter(folder, "s") as writer:
        for n, record in enumerate(groups):
            writer.write(record, [image(n, k) for k in range(len(record.candidates))])
    return build_index(folder)


def records(folder):
    index = ShardIndex.open(folder)
    return [index.sample(position).group for position in range(len(index))]


@pytest.fixture
def index(tmp_path):
    """Forty groups of twenty prompts."""
    return shards(tmp_path / "src", [group(n, f"prompt {n // 2}") for n in range(40)])


def test_split_by_prompt_keeps_prompts_together_and_loses_nothing(index, tmp_path):
    [part] = split_shards(index, tmp_path / "out", fraction=0.25)
    assert (part.path, part.held_out, part.train, part.val) == ("", 5, 30, 10)
    train, val = records(tmp_path / "out" / "train"), records(tmp_path / "out" / "val")
    assert not {g.prompt for g in train} & {g.prompt for g in val}
    assert sorted(g.id for g in train + val) == sorted(f"g{n}" for n in range(40))
    assert {g.id: all_comparisons(g) for g in train + val} == {
        g.id: all_comparisons(g) for g in records(tmp_path / "src")
    }
    assert not find_leaks(*(ShardSide(ShardIndex.open(tmp_path / "out" / side)) for side in ("train", "val")))


def test_a_split_depends_on_seed_and_content_not_on_order(index, tmp_path):
    again = shards(
        tmp_path / "again", [group(n, f"prompt {n // 2}") for n in reversed(range(40))], lambda n, k: png(39 - n, k, 7)
    )
    held = []
    for number, (source, seed) in enumerate([(index, 0), (again, 0), (index, 1)]):
        split_shards(source, tmp_path / str(number), fraction=0.25, seed=seed)
        held.append({g.prompt for g in records(tmp_path / str(number) / "val")})
    assert held[0] == held[1] != held[2]


def test_a_shared_image_keeps_prompts_together(tmp_path):
    # All groups of even number hold one and the same first image.
    index = shards(
        tmp_path / "src",
        [group(n, f"p{n}") for n in range(12)],
        lambda n, k: png(0 if k == 0 and n % 2 == 0 else n + 1, k, 9),
    )
    for seed in range(4):
        split_shards(index, tmp_path / str(seed), fraction=0.3, seed=seed)
        sides = [{g.id for g in records(tmp_path / str(seed) / side)} for side in ("train", "val")]
        even = {f"g{n}" for n in range(0, 12, 2)}
        assert even <= sides[0] or even <= sides[1]


def test_folds_hold_every_prompt_out_once(index, tmp_path):
    parts = split_shards(index, tmp_path / "out", folds=3)
    assert [part.path for part in parts] == ["fold-0", "fold-1", "fold-2"]
    held = []
    for part in parts:
        train, val = (records(tmp_path / "out" / part.path / side) for side in ("train", "val"))
        assert len(train) + len(val) == 40
        assert not {g.prompt for g in train} & {g.prompt for g in val}
        held += [g.id for g in val]
    assert sorted(held) == sorted(f"g{n}" for n in range(40))
    assert max(part.held_out for part in parts) - min(part.held_out for part in parts) <= 1


def test_scales_are_those_of_the_whole_set(tmp_path):
    answers = [(Answer("d", 0, "x", float(n)), Answer("d", 1, "x", 2.0)) for n in range(1, 6)]
    index = shards(tmp_path / "src", [group(n, f"p{n}", answers=a) for n, a in enumerate(answers)])
    split_shards(index, tmp_path / "out", fraction=0.2)
    for side in ("train", "val"):
        scale = ShardIndex.open(tmp_path / "out" / side).scales["d"]
        assert (scale.low, scale.high, scale.integer) == (1, 5, True)


def test_split_by_generator(index, tmp_path):
    [part] = split_shards(index, tmp_path / "out", by="generator", fraction=0.25)
    assert part.held_out == 1
    train, val = records(tmp_path / "out" / "train"), records(tmp_path / "out" / "val")
    [held] = set(GENERATORS) - {c.generator for g in train for c in g.candidates}
    assert len(train) == 40
    for record in val:
        for c in record.comparisons:
            assert held in (record.candidates[c.first].generator, record.candidates[c.second].generator)
    # Every vote is on one side: with the held-out generator in val, without it in train.
    for whole, left, kept in zip(records(tmp_path / "src"), train, val, strict=True):
        assert len(all_comparisons(whole)) == len(all_comparisons(left)) + len(kept.comparisons)


def test_splits_that_cannot_be_made(index, tmp_path):
    with pytest.raises(UserError, match=r"a split in folds=30 needs at least 30 sets of prompts .*; 20 found"):
        split_shards(index, tmp_path / "out", folds=30)
    unknown = shards(tmp_path / "unknown", [group(n, f"p{n}", (None, None, None)) for n in range(3)])
    with pytest.raises(UserError, match="no candidate names its generator"):
        split_shards(unknown, tmp_path / "out", by="generator")
    assert not (tmp_path / "out").exists()


def test_a_broken_sample_stops_a_split_and_says_how_to_find_all(index, tmp_path):
    shard = index.path(0)
    data = bytearray(shard.read_bytes())
    data[int(index.offset[3]) + 600] = 0
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"sample at byte .*data verify src="):
        split_shards(index, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_merge_holds_all_groups_and_joins_scales(tmp_path):
    low = shards(tmp_path / "a", [group(n, f"a{n}", answers=(Answer("d", 0, "x", 1.0),)) for n in range(3)])
    high = shards(tmp_path / "b", [group(n + 10, f"b{n}", answers=(Answer("d", 0, "x", 7.0),)) for n in range(2)])
    merged = merge_shards([low, high], tmp_path / "out")
    assert [g.id for g in records(tmp_path / "out")] == ["g0", "g1", "g2", "g10", "g11"]
    assert (merged.scales["d"].low, merged.scales["d"].high) == (1, 7)


def test_merge_of_equal_ids_names_both_sets(tmp_path):
    a, b = (shards(tmp_path / name, [group(0, f"of {name}")]) for name in "ab")
    with pytest.raises(UserError, match=r"/a and .*/b both have a group 'g0'.*prefix=true"):
        merge_shards([a, b], tmp_path / "out")
    merge_shards([a, b], tmp_path / "out", prefix=True)
    assert [g.id for g in records(tmp_path / "out")] == ["a-g0", "b-g0"]
    with pytest.raises(UserError, match="two or more"):
        merge_shards([a], tmp_path / "alone")
