"""What loader processes remember changes nothing but the time."""

from __future__ import annotations

import pytest
import torch

from rewardkit.data import memory
from rewardkit.data.collate import LoadedGroup
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform


def test_tokens_are_remembered_up_to_a_bound(tokenizer, monkeypatch):
    asked: list[str] = []

    class Counting:
        pad_id = 0

        def __call__(self, texts):
            asked.extend(texts)
            return tokenizer(texts)

    monkeypatch.setattr(memory, "MAX_TEXTS", 3)
    remembered = memory.TokenMemory(Counting())
    for texts in (["a", "b", "a"], ["b", "a"], ["c"], ["d", "a"], ["d"], []):
        if texts:
            assert torch.equal(remembered(texts), tokenizer(texts))
    assert asked == ["a", "b", "c", "d", "a", "d"]


def test_groups_are_kept_only_where_all_fit(monkeypatch):
    monkeypatch.setattr(memory, "MAX_DECODED_BYTES", 300)
    group = LoadedGroup(4, "k", None, torch.zeros(1, 3, 10, 10, dtype=torch.uint8))
    for images, kept in ((1, True), (2, False)):
        kept_groups = memory.GroupMemory(images=images, size=10)
        assert kept_groups.put(group) is group
        assert (kept_groups.get(4) is group) == kept and kept_groups.get(3) is None


@pytest.mark.parametrize("pairing", ["grouped", "pairs"])
def test_epochs_are_the_same_with_and_without_memory(make_shards, group_of, tokenizer, monkeypatch, pairing):
    folder = make_shards("set", [group_of(n) for n in range(12)])

    def epochs() -> list[torch.Tensor]:
        data = PreferenceData(
            train=[folder],
            val=[],
            transform=ImageTransform(8),
            tokenizer=tokenizer,
            dimensions=["overall", "aesthetic"],
            batch_groups=4,
            pairing=pairing,
        )
        loader = data.train_dataloader()
        found = []
        for _ in range(2):
            for batch in loader:
                found += [batch.pixels.clone(), batch.tokens.clone(), batch.target]
                batch.pixels.zero_()  # a caller may write into its batch
                batch.tokens.zero_()
            data.steps_done += data.schedule.steps_per_epoch
        return found

    with_memory = epochs()
    monkeypatch.setattr(memory, "MAX_DECODED_BYTES", 0)
    monkeypatch.setattr(memory, "MAX_TEXTS", 0)
    without = epochs()
    assert len(with_memory) == len(without) > 6
    assert all(torch.equal(a, b) for a, b in zip(with_memory, without, strict=True))
