"""Nothing that says where a run ran leaves with its options."""

from __future__ import annotations

import pytest

from rewardkit.engine.disclosure import public_options, public_text, public_value


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/data/hpd/train", "…/train"),
        ("/data", "…/data"),
        ("~/preferences/val/", "…/val"),
        ("../other/my shards", "…/my shards"),
        ("./mine.yaml", "…/mine.yaml"),
        (r"C:\Users\ann\shards", "…/shards"),
        (r"\\server\share\shards", "…/shards"),
        ("/", "…"),
        ("https://ann:pw@host.org/shards/train?X-Amz-Signature=abc#x", "https://host.org/shards/train"),
        ("s3://bucket/shards", "s3://bucket/shards"),
        ("file:///home/ann/shards", "…/shards"),
        ("embedded", "embedded"),
        ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32"),
        ("val/strict_micro/overall", "val/strict_micro/overall"),
        ("a cat and/or a dog, 3 / 4", "a cat and/or a dog, 3 / 4"),
        ("recipe /home/ann/mine.yaml", "recipe …/mine.yaml"),
        ("see (/home/ann/a.txt), https://u:p@h.org/x?y=1.", "see (…/a.txt), https://h.org/x"),
        ("", ""),
    ],
)
def test_paths_keep_their_last_part_and_urls_their_place(given: str, shown: str) -> None:
    assert public_value(given) == shown


def test_texts_keep_what_is_no_path() -> None:
    assert public_text("scores differ by less than 1e-4 (`data verify`); 30/40") == (
        "scores differ by less than 1e-4 (`data verify`); 30/40"
    )


def test_options_become_nested_without_those_of_the_machine() -> None:
    values = {
        "run.dir": "/home/ann/runs",
        "run.name": "first",
        "cache.dir": "/scratch",
        "plugins": ["/home/ann/x.py"],
        "wandb.entity": "team",
        "data.train": ["/data/a", "embedded"],
        "data.weights": {"/data/a": 3.0},
        "optim.lr": 1e-4,
        "seed": 0,
    }
    assert public_options(values) == {
        "run": {"name": "first"},
        "data": {"train": ["…/a", "embedded"], "weights": {"…/a": 3.0}},
        "optim": {"lr": 1e-4},
        "seed": 0,
    }
