"""What a training and a validation set share, in words."""

from dataclasses import replace

from rewardkit.data import overlap as module
from rewardkit.data.group import Candidate, Group
from rewardkit.data.index import ShardIndex
from rewardkit.data.overlap import Overlap, overlap


def test_prompts_and_images(make_shards, group_of):
    a = ShardIndex.open(make_shards("a", [group_of(n) for n in range(6)]))
    b = ShardIndex.open(make_shards("b", [group_of(n, start=10) for n in range(6)]))
    assert overlap(a, b) == Overlap("", "")
    twin, images = group_of(3)
    other = Group("twin", twin.prompt, (Candidate("x"),))
    c = ShardIndex.open(make_shards("c", [group_of(20), (other, [images[2]])]))
    assert overlap(a, c) == Overlap(
        "1 prompt (in 1 group, such as 'twin' \"prompt number 3\")", "1 image (in 1 group, such as 'twin')"
    )
    blank = [(Group("x", " ", (Candidate("x"),)), [group_of(n)[1][0]]) for n in (30,)]
    d = ShardIndex.open(make_shards("d", blank))
    assert overlap(d, d) == Overlap("", "1 image (in 1 group, such as 'x')")


def test_prompts_but_for_case_and_punctuation_in_sets_that_are_small(make_shards, group_of, monkeypatch):
    a = ShardIndex.open(make_shards("a", [group_of(n) for n in range(6)]))
    (equal, _), (other, _) = group_of(1), group_of(2)
    images = [group_of(n)[1] for n in (9001, 9002)]
    said = [(replace(equal, id="x"), images[0]), (replace(other, id="y", prompt="Prompt, number-2!"), images[1])]
    b = ShardIndex.open(make_shards("b", said))
    shared = "1 prompt (in 1 group, such as 'x' \"prompt number 1\")"
    near = "1 prompt (in 1 group, such as 'y' \"Prompt, number-2!\") but for case, punctuation and spaces"
    assert overlap(a, b).prompts == f"{shared} and {near}"
    monkeypatch.setattr(module, "FOLD_UP_TO", 7)
    assert overlap(a, b).prompts == shared
