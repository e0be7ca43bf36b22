"""The index: what it counts, when it is stale or damaged."""

from __future__ import annotations

import json
import pickle
import time

import numpy as np
import pytest

from rewardkit.data.comparisons import all_comparisons, comparisons_of, is_decided, rankings_to_learn
from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.index import ARRAYS, Scale, ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.index_rows import captions_of
from rewardkit.data.prompt_tokens import prompt_tokens
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import DataError, UserError


def labelled(number: int, images) -> tuple[Group, list[bytes]]:
    """A group with rankings and answers on three dimensions, one of them by N/A alone."""
    return Group(
        id=f"r{number}",
        prompt="a  café " * number,
        candidates=tuple(Candidate("x.png") for _ in range(3)),
        rankings=(
            Ranking("overall", "ann", (1, 2, 2)),
            Ranking("overall", "bob", (None, 1, 2)),
            Ranking("overall", AGGREGATE, (1, 2, 3)),
            Ranking("harm", AGGREGATE, (3, 2, 1)),
        ),
        answers=(
            Answer("quality", 0, "ann", 4),
            Answer("quality", 0, "bob", 2),
            Answer("quality", 1, "ann", 5),
            Answer("quality", 2, "ann", "NA"),
            Answer("hands", 1, "ann", "NA"),
        ),
        provenance={"source": "made up"},
    ), images


@pytest.fixture
def index(make_shards, group_of):
    groups = [group_of(n) for n in range(6)]
    images = groups[3][1][:3]
    groups.insert(4, labelled(2, images))
    return ShardIndex.open(make_shards("set", groups, max_groups=3))


def test_what_is_counted(index):
    assert index.dimensions == ("aesthetic", "hands", "harm", "overall", "quality")
    assert index.scales == {"quality": Scale(2, 5, True)} and index.scales["quality"].levels == 4
    assert index.sources == {"made up": 1} and index.left_out == ()
    assert index.shard.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert index.candidates.tolist() == [1, 2, 3, 4, 3, 1, 2]
    row = 4
    assert index.rankings[row].tolist() == [0, 0, 1, 2, 1]
    assert index.ratings[row].tolist() == [0, 0, 0, 0, 2]
    assert index.comparisons[row].tolist() == [0, 0, 3, 3, 1]
    starts = index.starts(index.candidates)
    assert index.each_candidate_rated[starts[row] : starts[row + 1], 4].tolist() == [True, True, False]
    assert index.captions.tolist() == [0, 2, 3, 4, 0, 0, 2]
    assert index.pixels.tolist() == [108, 216, 324, 432, 324, 108, 216]


def test_counts_are_those_of_the_comparisons_rule(index):
    each = 0
    for position in range(len(index)):
        group = index.record(position)
        for column, name in enumerate(index.dimensions):
            comparisons = comparisons_of(group, name)
            assert index.comparisons[position, column] == len(comparisons)
            assert index.comparison_weight[position, column] == sum(c.weight for c in comparisons)
            decided = [c for c in comparisons if is_decided(*c.votes)]
            assert index.decided[position, column] == len(decided)
            assert index.decided_weight[position, column] == sum(c.weight for c in decided)
            assert index.rankings[position, column] == len(rankings_to_learn(group, name))
        for comparison in all_comparisons(group):
            assert index.dimensions[index.each_comparison_dimension[each]] == comparison.dimension
            assert index.each_comparison_weight[each] == comparison.weight
            assert index.each_comparison_decided[each] == is_decided(*comparison.votes)
            each += 1
    assert each == len(index.each_comparison_dimension)
    assert 0 < index.decided.sum() < index.comparisons.sum()


def test_prompt_lengths_are_clip_tokens(index):
    import open_clip

    tokens = open_clip.SimpleTokenizer(context_length=77)([index.record(n).prompt for n in range(len(index))])
    assert index.prompt_tokens.tolist() == (tokens != 0).sum(1).tolist()
    assert prompt_tokens("") == 2 and prompt_tokens("word " * 100) == 102
    start = time.process_time()
    prompt_tokens("x" * 10**6)
    assert time.process_time() - start < 5


def test_arrays_are_mapped_and_survive_pickling(index):
    assert all(isinstance(getattr(index, name), np.memmap) for name in ARRAYS)
    again = pickle.loads(pickle.dumps(index))
    assert len(pickle.dumps(index)) < 2000
    assert again.digest == index.digest and again.sample(4).key == "r2"


def test_the_digest_is_of_content_and_order(make_shards, group_of):
    groups = [group_of(n) for n in range(5)]
    digest = ShardIndex.open(make_shards("one", groups)).digest
    assert ShardIndex.open(make_shards("two", groups)).digest == digest
    assert ShardIndex.open(make_shards("turned", groups[::-1])).digest != digest
    assert ShardIndex.open(make_shards("cut", groups, max_groups=2)).digest != digest
    other = [*groups[:4], (groups[4][0], group_of(12)[1])]
    assert ShardIndex.open(make_shards("pixels", other)).digest != digest


def test_legal_oddities(make_shards, group_of):
    """One candidate, only ties, no labels at all, an empty prompt."""
    one, images = group_of(2, k=1)
    ties = Group("ties", "", (Candidate("x"), Candidate("y")), (Comparison("overall", 0, 1, (0, 4, 0)),))
    none = Group("none", "p", (Candidate("x"), Candidate("y")))
    index = ShardIndex.open(make_shards("set", [(one, images), (ties, images * 2), (none, images * 2)]))
    assert index.comparisons[:, 0].tolist() == [0, 1, 0]
    assert index.prompt_hash[1] == 0 and index.prompt_hash[0] != 0


def test_sets_without_any_label(make_shards):
    index = ShardIndex.open(make_shards("set", [(Group("a", "p", (Candidate("x.jpg"),)), [b"broken"])]))
    assert index.dimensions == () and index.comparisons.shape == (1, 0) and index.pixels.tolist() == [0]


def test_stale_and_missing_indices(index, make_shards, group_of):
    folder = index.folder
    with pytest.raises(UserError, match=r"no index yet; run `rewardkit data index src="):
        ShardIndex.open(make_shards("bare", [group_of(1)], index=False))
    with ShardWriter(folder, "more") as writer:
        writer.write(*group_of(77))
    with pytest.raises(UserError, match=r"changed since .*more-000000.tar is new.*data index src="):
        ShardIndex.open(folder)
    assert len(build_index(folder)) == 8
    (folder / "more-000000.tar").unlink()
    with pytest.raises(UserError, match=r"more-000000.tar is gone"):
        ShardIndex.open(folder)
    build_index(folder)
    with open(folder / "set-000001.tar", "ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(UserError, match=r"set-000001.tar had \d+ bytes and has \d+"):
        ShardIndex.open(folder)


def test_a_new_index_replaces_the_old_one(index):
    again = build_index(index.folder, made={"by": "me"}, scales={"quality": Scale(1, 5, True)})
    assert again.made == {"by": "me"} and again.scales["quality"].levels == 5
    assert len([path for path in index.folder.iterdir() if not path.name.endswith(".tar")]) == 2
    assert index.shard[0] == 0  # one that is open stays readable
    with pytest.raises(DataError, match="'quality' has answers of"):
        build_index(index.folder, scales={"quality": Scale(3, 5, True)})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 3}', '{"version": 3, "shards": 3}'])
def test_damaged_index_files(index, content):
    (index.folder / "index.json").write_text(content)
    with pytest.raises(DataError, match=r"damaged .*data index src="):
        ShardIndex.open(index.folder)


def test_damaged_arrays(index):
    (arrays,) = index.folder.glob("index-*")
    file = arrays / "offset.npy"
    for change in (lambda: np.save(file, np.zeros(3, np.int64)), lambda: np.save(file, np.zeros(7)), file.unlink):
        change()
        with pytest.raises(DataError, match="damaged"):
            ShardIndex.open(index.folder)
    record = json.loads((index.folder / "index.json").read_text())
    (index.folder / "index.json").write_text(json.dumps(record | {"version": 99}))
    with pytest.raises(UserError, match="its format is 99"):
        ShardIndex.open(index.folder)


def test_problems_are_listed_and_can_be_left_out(make_shards, group_of):
    folder = make_shards("set", [group_of(n) for n in range(9)], max_groups=3, index=False)
    with ShardWriter(folder, "more") as writer:
        writer.write(*group_of(4))
    first, last = folder / "set-000000.tar", folder / "set-000002.tar"
    first.write_bytes(first.read_bytes().replace(b'{"id": "g00001"', b'{"ix": "g00001"'))
    last.write_bytes(last.read_bytes()[:4000])
    with pytest.raises(DataError) as caught:
        build_index(folder)
    told = str(caught.value)
    assert "3 samples cannot be indexed" in told
    assert "set-000000.tar g00001: group '?': the field 'id' is missing" in told
    assert "g00004: the key is there twice: in more-000000.tar and in set-000001.tar" in told
    assert "set-000002.tar: in its first sample: the shard is cut off" in told
    assert not (folder / "index.json").exists()
    index = build_index(folder, leave_out_bad=True)
    assert [index.sample(n).key[-1] for n in range(len(index))] == list("40235")
    assert [problem["key"] for problem in index.left_out] == ["g00001", "g00004", ""]


def test_captions_only_where_every_candidate_has_one(group_of):
    group, _ = group_of(3)
    assert len(captions_of(group)) == 4
    from dataclasses import replace

    for captions in (None, "text", ["a"], ["a", "b", "c", 4], ["a", "b", "c", " "]):
        assert captions_of(replace(group, slots={"captions": captions})) == []


def test_a_million_groups_open_at_once(index, tmp_path):
    """The time to open does not grow with the groups: arrays are not read."""
    n = 1_000_000
    record = json.loads((index.folder / "index.json").read_text())
    record["counts"] = {"groups": n, "candidates": 0, "comparisons": 0, "rankings": 0}
    (arrays,) = index.folder.glob("index-*")
    for name, kind in ARRAYS.items():
        old = np.load(arrays / f"{name}.npy")
        rows = 0 if name.startswith("each_") else n
        np.lib.format.open_memmap(arrays / f"{name}.npy", "w+", kind, (rows, *old.shape[1:])) if rows else np.save(
            arrays / f"{name}.npy", old[:0]
        )
    (index.folder / "index.json").write_text(json.dumps(record))
    start = time.process_time()
    assert len(ShardIndex.open(index.folder)) == n
    assert time.process_time() - start < 0.5
