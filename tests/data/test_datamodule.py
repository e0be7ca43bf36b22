"""The data module under Lightning: true length, golden order, exact resume, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform
from rewardkit.data.sources import Source
from rewardkit.errors import CheckpointError, DataError, UserError


@pytest.fixture
def sets(make_shards, group_of):
    train = make_shards("train", [group_of(n) for n in range(30)])
    val = make_shards("val", [group_of(n, start=1000) for n in range(9)], max_groups=4)
    return train, val


@pytest.fixture
def make_data(sets, tokenizer):
    def make(**changes) -> PreferenceData:
        values = {
            "train": [sets[0]],
            "val": [sets[1]],
            "transform": ImageTransform(8),
            "tokenizer": tokenizer,
            "dimensions": ["overall", "aesthetic"],
            "batch_groups": 4,
            "micro_groups": 2,
        }
        return PreferenceData(**{**values, **changes})

    return make


class Recorder(pl.LightningModule):
    """Trains one number and remembers which groups it saw at which optimiser step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, int, int, list[str], bool]] = []
        self.validated: list[list[str]] = []

    def training_step(self, batch, index):
        last = self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        self.seen.append((self.global_step, self.current_epoch, index, batch.keys, last))
        return self.weight * batch.pixels.float().mean()

    def on_validation_epoch_start(self):
        self.validated.append([])

    def validation_step(self, batch, index):
        self.validated[-1] += [record.key for record in batch.records]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Save(Callback):
    """Saves a checkpoint after the steps given, from one hook or another; may then stop hard."""

    def __init__(self, folder: Path, *, hook: str, crash_at: int | None = None) -> None:
        self.folder, self.hook, self.crash_at = folder, hook, crash_at

    def _save(self, trainer: pl.Trainer, hook: str) -> None:
        if hook == self.hook:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if (index + 1) % trainer.accumulate_grad_batches == 0:
            self._save(trainer, "batch")
            if trainer.global_step == self.crash_at:
                raise KeyboardInterrupt

    def on_validation_end(self, trainer, module):
        self._save(trainer, "validation")


def fit(data, *, steps, folder=None, hook="batch", checkpoint=None, accumulation=2, crash_at=None, callbacks=()):
    module = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        max_epochs=-1,
        accumulate_grad_batches=accumulation,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=6,
        check_val_every_n_epoch=None,
        callbacks=[*callbacks, *([Save(folder, hook=hook, crash_at=crash_at)] if folder else [])],
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's way out of a KeyboardInterrupt
        assert crash_at is not None
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
def test_golden_order_over_two_epochs(make_data, workers):
    module = fit(make_data(workers=workers), steps=16)
    keys = [key for *_, keys, _ in module.seen for key in keys]
    first, second = keys[:28], keys[28:56]
    assert len(set(first)) == len(set(second)) == 28 and first != second
    assert [key[-2:] for key in (*first[:8], *second[:8])] == GOLDEN
    # 7 steps of 2 micro-batches an epoch
    assert [epoch for _, epoch, *_ in module.seen] == [0] * 14 + [1] * 14 + [2] * 4
    assert [index for _, _, index, *_ in module.seen] == [*range(14), *range(14), *range(4)]
    assert [last for *_, last in module.seen] == [n % 14 == 13 for n in range(32)]
    assert module.validated[0] == [f"g{1000 + n:05d}" for n in range(9)]


GOLDEN = ["23", "10", "24", "00", "11", "22", "18", "25", "24", "14", "09", "06", "13", "05", "20", "02"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("hook", "workers"), [("batch", (0, 0)), ("validation", (0, 0)), ("batch", (2, 0)), ("batch", (0, 2))]
)
def test_resume_from_every_checkpoint(make_data, tmp_path, hook, workers):
    whole = fit(make_data(workers=workers[0]), steps=16, folder=tmp_path, hook=hook)
    steps = sorted(int(path.stem) for path in tmp_path.glob("*.ckpt"))
    assert len(steps) >= 2
    for step in steps if workers == (0, 0) else [3, 7]:
        if step >= 16:
            continue
        part = fit(make_data(workers=workers[1]), steps=16, checkpoint=tmp_path / f"{step}.ckpt")
        assert part.seen == [entry for entry in whole.seen if entry[0] >= step], step
        assert torch.equal(part.weight, whole.weight)


@pytest.mark.filterwarnings("ignore")
def test_resume_of_an_interrupted_run(make_data, tmp_path):
    whole = fit(make_data(), steps=10)
    cut = fit(make_data(workers=2), steps=10, folder=tmp_path, crash_at=5)
    rest = fit(make_data(), steps=10, checkpoint=tmp_path / "5.ckpt")
    assert cut.seen + rest.seen == whole.seen
    assert torch.equal(rest.weight, whole.weight)


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_from_the_middle_of_a_step_is_refused(make_data, tmp_path):
    class SaveEarly(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if index == 4:
                trainer.save_checkpoint(tmp_path / "early.ckpt")

    fit(make_data(), steps=4, callbacks=[SaveEarly()])
    with pytest.raises(CheckpointError, match=r"middle of an optimiser step \(after 5 micro-batches .* 2 make a step"):
        fit(make_data(), steps=4, checkpoint=tmp_path / "early.ckpt")
    state = torch.load(tmp_path / "early.ckpt", weights_only=True)
    assert state["PreferenceData"]["steps"] == 2
    state["PreferenceData"]["steps"] = 1
    torch.save(state, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"stand at step 1, its trainer at step 2"):
        fit(make_data(), steps=4, checkpoint=tmp_path / "other.ckpt")


def test_two_ranks_take_the_groups_of_one(make_data):
    def steps(ranks: int, rank: int) -> list[list[str]]:
        data = make_data(ranks=ranks, micro_groups=1)
        batches = [batch.keys for batch in loader_of_rank(data, rank)]
        per_step = data.accumulation
        return [list(chain(*batches[n : n + per_step])) for n in range(0, len(batches), per_step)]

    one, (first, second) = steps(1, 0), (steps(2, 0), steps(2, 1))
    assert one == [a + b for a, b in zip(first, second, strict=True)]
    assert len(one) == 7


def loader_of_rank(data, rank):
    """The training loader as a rank of a Trainer with many would get it."""

    class Ranked:
        world_size = data.ranks
        accumulate_grad_batches = data.accumulation
        global_step = 0
        global_rank = rank
        training = True

    data.trainer = Ranked()
    return data.train_dataloader()


def test_position_and_length_without_a_trainer(make_data):
    data = make_data()
    loader = data.train_dataloader()
    epoch = [batch.keys for batch in loader]
    assert len(loader) == len(epoch) == 14
    data.steps_done = 5
    assert len(loader) == 14 and [batch.keys for batch in loader] == epoch[10:]
    data.steps_done = 7
    assert [batch.keys for batch in loader] != epoch


@pytest.mark.parametrize(
    ("change", "word"),
    [({"seed": 1}, "seed"), ({"batch_groups": 8}, "data.batch_groups"), ({"pairing": "pairs"}, "data.pairing")],
)
def test_a_checkpoint_of_another_order_is_refused(make_data, change, word):
    state = make_data().state_dict()
    make_data(workers=2, val=[]).load_state_dict(state)
    with pytest.raises(CheckpointError, match=word):
        make_data(**change).load_state_dict(state)


def test_a_checkpoint_of_other_data_is_refused(make_data, make_shards, group_of):
    state = make_data().state_dict()
    assert state["steps"] == state["epoch"] == 0
    other = make_shards("other", [group_of(n) for n in range(31)])
    with pytest.raises(CheckpointError, match=r"data\.train"):
        make_data(train=[other]).load_state_dict(state)


def test_shared_images_are_refused_unless_permitted(make_data, sets):
    with pytest.raises(UserError, match=r"share 73 images .*'g00000'.* and 30 prompts .*allow_overlap=true"):
        make_data(val=[sets[0]])
    data = make_data(val=[sets[0]], allow_overlap=True)
    assert data.val_names == ["train_2"]
    assert ["share 30 prompts" in data.warnings[0], "share 73 images" in data.warnings[1]] == [True, True]
    assert make_data(val=[sets[0]], train=[]).schedule is None
    assert make_data().warnings == []


def test_shared_prompts_are_a_warning(make_data, make_shards, group_of):
    (group, _), (_, images) = group_of(3), group_of(7003)
    other = make_shards("other", [(replace(group, id="twin"), images)])
    [warning] = make_data(val=[other]).warnings
    assert "share 1 prompt (in 1 group, such as 'twin' \"prompt number 3\")" in warning
    assert "data split src=… out=… by=prompt" in warning


def test_names_of_validation_sets(make_data, sets):
    data = make_data(val=[sets[1], Source(str(sets[1]), name="held out"), Source(str(sets[1]), name="../x")])
    assert data.val_names == ["val", "held_out", "x"]
    loaders = data.val_dataloader()
    assert [len(loader) for loader in loaders] == [5, 5, 5]
    records = [record for batch in loaders[0] for record in batch.records]
    assert [record.key for record in records] == [f"g{1000 + n:05d}" for n in range(9)]
    assert [record.number for record in records] == list(range(9))
    assert data.val_data[0].record(3) == records[3].group
    assert (sets[1] / records[8].place.shard).is_file() and records[8].place.shard == "val-000002.tar"


def test_mistakes_in_sources(make_data, tmp_path):
    for train, word in (
        (["/nowhere/at/all"], "no such folder"),
        ([tmp_path], "no shards"),
        (["pipe://bucket/x"], "no protocol"),
        ([Source("x", weight=2.0), Source("y")], "give every source one"),
    ):
        with pytest.raises(UserError, match=word):
            make_data(train=train)
    with pytest.raises(UserError, match=r"data\.pairing is 'pair'"):
        make_data(pairing="pair")


def break_image(folder: Path, key: str) -> None:
    """Overwrites the pixels of a sample's first image inside its shard, lengths unchanged."""
    for shard in folder.glob("*.tar"):
        data = bytearray(shard.read_bytes())
        at = data.find(f"{key}.0.png".encode())
        if (body := data.find(b"\x89PNG", at)) > 0 and at >= 0:
            data[body : body + 60] = b"\0" * 60
            shard.write_bytes(data)
            return
    raise AssertionError(key)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_named_and_leave_their_place_empty(make_data, sets, tmp_path, workers):
    good = {batch.keys[0]: batch for batch in make_data(micro_groups=1).train_dataloader()}
    break_image(sets[0], "g00003")
    break_image(sets[1], "g01004")
    path = tmp_path / "run" / "data_errors.jsonl"
    data = make_data(micro_groups=1, workers=workers, errors_path=path)
    loader = data.train_dataloader()
    met = {}
    for _ in range(2):
        met = {batch.keys[0]: batch for batch in loader}
    bad = met.pop("g00003")
    assert bad.valid.tolist() == [False] and bad.pixels.sum() == 0 and bad.first.numel() == 0
    assert bad.prompts == [""] and bad.ratings.isnan().all()
    assert torch.equal(bad.denominators.comparisons, good["g00003"].denominators.comparisons)
    assert all(torch.equal(batch.pixels, good[key].pixels) for key, batch in met.items())
    validated = [record.key for batch in data.val_dataloader()[0] for record in batch.records]
    assert len(validated) == 8 and "g01004" not in validated
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["set"], line["shard"], line["key"]) for line in lines] == [
        ("train", "train-000000.tar", "g00003"),
        ("val", "val-000001.tar", "g01004"),
    ]
    assert all("image" in line["reason"] for line in lines) and data.bad_samples == 2


def test_too_many_bad_samples_stop_the_run(make_data, sets):
    for n in range(12):
        break_image(sets[0], f"g{n:05d}")
    with pytest.raises(DataError, match=r"(?s)11 of 30 samples of train .*more than 10.*g000.*data verify"):
        list(make_data(micro_groups=1).train_dataloader())
    assert len(list(make_data(max_bad_fraction=0.5).train_dataloader())) == 14


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_goes_away_is_no_bad_sample(make_data, sets, workers, monkeypatch):
    monkeypatch.setattr("rewardkit.data.sources.time.sleep", lambda seconds: None)
    data = make_data(workers=workers)
    (sets[0] / "train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"train-000001.tar cannot be read \(3 attempts\): No such file") as caught:
        list(data.train_dataloader())
    assert "Traceback" not in str(caught.value)
