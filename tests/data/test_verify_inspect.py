"""Damage of every kind is found and named; inspection counts what was written."""

import io

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.inspect import inspect_shards, tables
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.data.verify import verify_shards
from rewardkit.errors import UserError


def jpeg(n):
    file = io.BytesIO()
    noise = np.random.default_rng(n).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def write(folder, groups=6, **changes):
    with ShardWriter(folder, "s", max_groups=3) as writer:
        for n in range(groups):
            candidates = tuple(Candidate(f"{k}.jpg", "glide", 60, 40) for k in range(2))
            vote = (Comparison("overall", 0, 1, (2.0, 1.0, 1.0)),)
            writer.write(Group(f"g{n}", f"prompt {n}", candidates, vote, **changes), [jpeg(2 * n), jpeg(2 * n + 1)])
    return build_index(folder)


def damage(index, position, file, change):
    """Changes the bytes of one file of a sample in place; ``change`` keeps the length."""
    path = index.path(position)
    data = bytearray(path.read_bytes())
    original = index.sample(position).images[file]
    at = data.index(original, int(index.offset[position]))
    changed = change(original)
    assert len(changed) == len(original)
    data[at : at + len(original)] = changed
    path.write_bytes(bytes(data))


def test_a_whole_set_is_all_well(tmp_path):
    write(tmp_path)
    found = verify_shards(tmp_path)
    assert (found.groups, found.images, found.problems) == (6, 12, [])


def test_changed_and_broken_images_are_named_and_hide_no_other(tmp_path):
    index = write(tmp_path)
    damage(index, 1, 0, lambda data: data[:-40] + bytes(40))
    damage(index, 4, 1, lambda data: bytes(len(data)))
    seen = []
    found = verify_shards(tmp_path, progress=seen.append)
    told = [str(problem) for problem in found.problems]
    assert told[0] == "s-000000.tar, g1: g1.0.jpg: its bytes are not those of the record's sha256"
    assert any(text.startswith("s-000001.tar, g4: g4.1.jpg: the") for text in told)
    assert {problem.key for problem in found.problems} == {"g1", "g4"}
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_wrong_size_in_the_record_is_named(tmp_path):
    with ShardWriter(tmp_path, "s") as writer:
        writer.write(Group("g", "p", (Candidate("a.jpg", None, 40, 60),)), [jpeg(0)])
    build_index(tmp_path)
    [problem] = verify_shards(tmp_path).problems
    assert problem.reason == "g.0.jpg: it is 60 x 40, the record says 40 x 60"


def test_a_damaged_header_is_named(tmp_path):
    index = write(tmp_path)
    path = index.path(2)
    data = bytearray(path.read_bytes())
    data[int(index.offset[2]) + 150] ^= 0xFF
    path.write_bytes(bytes(data))
    found = verify_shards(tmp_path)
    assert [problem.shard for problem in found.problems] == ["s-000000.tar"]
    assert "sample at byte" in str(found.problems[0])
    assert found.groups == 6


def test_a_shard_cut_off_is_named_and_the_others_are_read(tmp_path):
    write(tmp_path)
    shard = tmp_path / "s-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-9000])
    found = verify_shards(tmp_path)
    assert [problem.shard for problem in found.problems] == ["index.json", "s-000000.tar"]
    assert "have changed since they were indexed" in found.problems[0].reason
    assert "cut off" in found.problems[1].reason
    assert found.groups >= 4


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no shards"):
        verify_shards(tmp_path)


def test_samples_left_out_of_the_index_are_problems(tmp_path):
    index = write(tmp_path)
    path = index.path(0)
    path.write_bytes(path.read_bytes().replace(b'"votes": [2.0, 1.0, 1.0]', b'"votes": [0.0, 0.0, 0.0]', 1))
    build_index(tmp_path, leave_out_bad=True)
    [problem] = verify_shards(tmp_path).problems
    assert problem.key == "g0"
    assert "at least one positive" in problem.reason


def test_inspection_counts(tmp_path):
    labels = {
        "rankings": (Ranking("style", "ann", (1.0, 1.0)), Ranking("style", AGGREGATE, (1.0, 2.0))),
        "answers": (Answer("real", 0, "ann", 4.0), Answer("real", 1, "bo", "NA"), Answer("real", 1, "ann", 2.0)),
        "tags": {"style": "anime"},
    }
    seen = []
    found = inspect_shards(write(tmp_path, **labels), also=[lambda group: seen.append(group.id)])
    assert seen == [f"g{n}" for n in range(6)]
    assert found.different_prompts == 6
    assert (found.groups, found.shards, found.candidates) == (6, 2, {2: 6})
    overall, style, real = (found.dimensions[name] for name in ("overall", "style", "real"))
    assert (overall.comparisons, overall.votes, overall.undecided) == (6, [12, 6, 6], 0)
    assert (style.rankings, style.votes, style.undecided, style.raters) == (6, [0, 6, 0], 6, {"ann"})
    assert (real.answers, real.not_applicable, real.votes, real.raters) == (12, 6, [6, 0, 0], {"ann", "bo"})
    assert found.tags == {"style: anime": 6}
    assert found.sizes == {"60 x 40": 12}
    made = {table.title.split(" ")[0]: table for table in tables(found, context_length=3)}
    assert made["prompts"].rows[2] == ("cut off at 3 tokens", "6 (100.0% of the groups)")
    real_row = dict(zip(made["labels"].columns, made["labels"].rows[1], strict=True))
    assert (real_row["dimension"], real_row["scale"], real_row["votes each"]) == ("real", "2 to 4", "1.0")


def test_long_lists_end_with_the_others(tmp_path):
    with ShardWriter(tmp_path, "s") as writer:
        for n in range(12):
            writer.write(Group(f"g{n}", "", (Candidate("a.jpg", f"model {n}"),)), [jpeg(n)])
    found = inspect_shards(build_index(tmp_path))
    [generators] = [table for table in tables(found, 77) if table.title == "generators"]
    assert generators.rows[-1] == ("4 others", "4", "33.3%")
    assert found.empty_prompts == 12
    assert len(ShardIndex.open(tmp_path)) == 12
