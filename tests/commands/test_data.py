"""The actions of ``data`` as they are typed, with exit codes and messages."""

import json
import re

import pytest
from PIL import Image

from rewardkit.cli import run


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = []
    for n in range(6):
        for side in "ab":
            Image.new("RGB", (12, 12), (40 * n, 9 * ord(side) % 256, 0)).save(folder / f"{n}{side}.png")
        lines.append({"prompt": f"prompt {n}", "images": [f"{n}a.png", f"{n}b.png"], "better": n % 2})
    (folder / "prefs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def data(*arguments):
    return run(["data", *arguments])


def test_from_files_to_split_shards(mine, capsys):
    assert data("convert", "format=jsonl", "src=mine", "out=s") == 0
    assert "wrote s: 6 groups, 12 images" in capsys.readouterr().out
    assert data("inspect", "src=s") == 0
    out = capsys.readouterr().out
    assert "overall" in out
    assert "\x1b" not in out
    assert data("verify", "src=s") == 0
    assert "6 groups, 12 images: all well" in capsys.readouterr().out
    assert data("split", "src=s", "out=cut", "fraction=0.34") == 0
    assert "wrote cut: train 4 groups, val 2 groups" in capsys.readouterr().out
    assert data("leaks", "a=cut/train", "b=cut/val") == 0
    assert data("leaks", "a=s", "b=cut/val") == 1
    out = capsys.readouterr().out
    assert re.search(r"prompt, equal +2 +2 +100\.0% +6 +2", out), out
    assert data("merge", "src=cut/train,cut/val", "out=again") == 0
    assert "wrote again: 6 groups" in capsys.readouterr().out
    assert data("index", "src=again") == 0
    assert "indexed again: 6 groups in 2 shards" in capsys.readouterr().out
    assert data("split", "src=s", "out=folds", "folds=3") == 0
    assert (mine / "folds" / "fold-2" / "val" / "index.json").is_file()


def test_damage_gives_exit_code_one(mine, capsys):
    data("convert", "format=jsonl", "src=mine", "out=s", "name=x")
    shard = mine / "s" / "x-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-3000])
    capsys.readouterr()
    assert data("verify", "src=s") == 1
    assert "problems" in capsys.readouterr().out


def test_groups_left_out_are_told_on_the_error_stream(mine, capsys):
    (mine / "mine" / "3a.png").write_bytes(b"")
    assert data("convert", "format=jsonl", "src=mine", "out=s") == 0
    told = capsys.readouterr().err
    assert "warning: 1 of 6 groups were left out" in told
    assert "prefs.jsonl:4: 3a.png: the image has 0 bytes" in told


def test_a_formats_own_options(mine, capsys):
    pairs = [{"prompt": "p", "file_path": ["0a.png", "0b.png"], "human_preference": [1, 0]}]
    (mine / "mine" / "train.json").write_text(json.dumps(pairs))
    (mine / "mine" / "test.json").write_text("[]")
    assert data("convert", "format=hpdv2", "src=mine", "out=s") == 2
    assert "say split=train or split=test" in capsys.readouterr().err
    assert data("convert", "format=hpdv2", "src=mine", "out=s", "split=train") == 0
    assert data("convert", "format=jsonl", "src=mine", "out=t", "split=train") == 2
    assert "split: there is no such option of data convert format=jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convrt"], "convert, index, inspect, verify, split, merge, leaks, flips, demo. Did you mean 'convert'"),
        ([], "data needs an action"),
        (["convert", "src=mine", "out=s"], "format= is missing: python -m rewardkit data convert format="),
        (["convert", "format=jsonl", "src=mine"], "out= is missing"),
        (["convert", "format=jsnl", "src=mine", "out=s"], "format=jsnl is unknown. Did you mean 'jsonl'"),
        (["convert", "format=jsonl", "src=mine", "out=s", "shard_group=2"], "Did you mean 'shard_groups'"),
        (["convert", "format=jsonl", "src=mine", "out=mine"], "out=mine exists already"),
        (["convert", "format=jsonl", "src=nowhere", "out=s"], "src=nowhere does not exist"),
        (["inspect", "src=mine"], "holds no shards"),
        (["split", "src=mine", "out=s", "fraction=0.1", "folds=2"], "give one of them"),
        (["split", "src=mine", "out=s", "fraction=1.5"], "fraction: must be at most 0.9"),
        (["merge", "src=mine", "out=s"], "holds no shards"),
    ],
)
def test_mistakes(mine, capsys, arguments, message):
    assert data(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not (mine / "s").exists()


def test_demo_shards(tmp_path, capsys):
    for name in ("a", "b"):
        assert data("demo", f"out={tmp_path / name}", "groups=3", "seed=5", "workers=0", "split=val") == 0
    assert "3 groups" in capsys.readouterr().out
    one, other = ((tmp_path / name / "demo-000000.tar").read_bytes() for name in "ab")
    assert one == other


def test_help_lists_actions_options_and_formats(capsys):
    assert data("--help") == 0
    assert "data leaks a=DIR b=DIR" in capsys.readouterr().out
    assert data("convert", "--help") == 0
    out = capsys.readouterr().out
    for word in ("max_candidates=16", "format=hpdv2", "pooled="):
        assert word in out


def test_a_conversion_says_what_it_read_and_left_out(mine, capsys):
    with open(mine / "mine" / "prefs.jsonl", "a") as file:
        file.write('\n{"prompt": "x", "imges": ["0a.png", "0b.png"], "better": 1}')
    assert data("convert", "format=jsonl", "src=mine", "out=s", "resize=8,50") == 0
    told = capsys.readouterr()
    assert "read 7 rows; they make 6 groups" in told.out
    assert "note: images made smaller, longer side 8: 12" in told.out
    assert "prefs.jsonl:7: " in told.err and "Did you mean 'images'?" in told.err


def test_parts_and_sizes_that_cannot_be(mine, capsys):
    for option, message in (("part=0/3", "K from 1 to N"), ("part=4/3", "K from 1 to N"), ("resize=0", "longest side")):
        assert data("convert", "format=jsonl", "src=mine", "out=s", option) == 2
        assert message in capsys.readouterr().err
    assert not list(mine.glob(".s*"))


def test_an_option_of_a_format_that_is_a_map(mine, capsys):
    (mine / "mos.csv").write_text("name,prompt,MOS\n" + "\n".join(f"mine/{n}a.png,p,{n / 2}" for n in range(4)))
    assert data("convert", "format=agiqa", "src=mos.csv", "out=s", "scores.MOS=overall") == 0
    assert "wrote s: 1 groups, 4 images" in capsys.readouterr().out
