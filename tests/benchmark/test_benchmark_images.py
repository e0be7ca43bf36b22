"""Images belong to prompts by name: gaps stay gaps, strays are named, copies are counted, what fits nothing is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardkit.benchmark.images import ImageFile as File
from rewardkit.benchmark.images import find_generators, match_files
from rewardkit.benchmark.published_prompts import read_prompts
from rewardkit.errors import UserError


def _own(folder: Path, ids: list[str]) -> Path:
    file = folder / "mine.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"p {id}", "id": id}) + "\n" for id in ids))
    return file


def test_a_gap_moves_nothing_and_strays_are_named(hpsv2: tuple[Path, Path], draw: Callable[..., Path]) -> None:
    prompts, images = hpsv2
    (images / "sd" / "photo" / "00000.jpg").unlink()
    draw(images / "sd" / "photo" / "00003.jpg", 0)
    draw(images / "sd" / "00000.png", 0)
    (images / "sd" / ".hidden").write_text("x")
    (images / "readme.txt").write_text("x")
    (images / "empty").mkdir()
    draw(images / "other" / "x.jpg", 0)
    found = find_generators([str(images)], read_prompts([str(prompts)]))
    sd, xl = found.generators
    assert (sd.name, len(sd.images), len(xl.images)) == ("sd", 11, 12)
    assert [image.prompt for image in sd.images] == [*range(9), 10, 11]
    assert sd.images[9].image.file == "photo/00001.jpg"
    assert sd.stray == ("00000.png", "photo/00003.jpg")
    assert any("no image fits in other" in note for note in found.notes)
    assert any("stray files are ignored: readme.txt" in note for note in found.notes)


def test_a_generators_own_folder_and_names(hpsv2: tuple[Path, Path]) -> None:
    prompts, images = hpsv2
    found = find_generators([str(images / "sd"), f"mine={images / 'xl'}"], read_prompts([str(prompts)]))
    assert [(one.name, len(one.images)) for one in found.generators] == [("sd", 12), ("mine", 12)]
    with pytest.raises(UserError, match="two generators are called 'sd'"):
        find_generators([str(images / "sd"), f"sd={images / 'xl'}"], read_prompts([str(prompts)]))


def test_several_images_of_a_prompt(tmp_path: Path) -> None:
    prompts = read_prompts([str(_own(tmp_path, ["a", "a_1", "b", "c"]))])
    files = ["a.jpg", "a_2.png", "a_10.JPG", "a_1.jpg", "b/0.webp", "b/1.webp", "b/x.jpg", "c.png", "c.jpg", "c.txt"]
    found = match_files("g", tmp_path, [File(file, 1, 1) for file in files], prompts)
    by_prompt = {n: [i.image.file for i in found.images if i.prompt == n] for n in range(4)}
    assert by_prompt == {0: ["a.jpg", "a_2.png", "a_10.JPG"], 1: ["a_1.jpg"], 2: ["b/0.webp", "b/1.webp"], 3: ["c.jpg"]}
    assert [i.copy for i in found.images if i.prompt == 0] == [0, 1, 2]
    assert found.stray == ("b/x.jpg", "c.png", "c.txt")


def test_names_are_compared_as_people_read_them(tmp_path: Path) -> None:
    prompts = read_prompts([str(_own(tmp_path, ["caf\u00e9"]))])
    assert match_files("g", tmp_path, [File("cafe\u0301.jpg", 1, 1)], prompts).images


def test_what_fits_nothing_says_what_was_expected(hpsv2: tuple[Path, Path], tmp_path: Path) -> None:
    prompts = read_prompts([str(hpsv2[0])])
    (tmp_path / "none" / "m").mkdir(parents=True)
    (tmp_path / "none" / "m" / "0.jpg").write_text("x")
    with pytest.raises(UserError, match=r"Expected below the folder .*MODEL/anime/00000\.jpg.*It holds m/0\.jpg"):
        find_generators([str(tmp_path / "none")], prompts)
    with pytest.raises(UserError, match="there is no folder"):
        find_generators([str(tmp_path / "nowhere")], prompts)


def test_an_id_of_both_of_evalaligns_sets_needs_its_aspects_folder(tmp_path: Path) -> None:
    for aspect, extra in (("faithfulness", {}), ("alignment", {"result_info": {"Object": "x"}})):
        rows = [{"prompt_id": id, "prompt": f"{aspect} {id}", **extra} for id in ("7", aspect[0])]
        (tmp_path / f"test_{aspect}_prompt.json").write_text(json.dumps(rows))
    prompts = read_prompts([str(tmp_path)])
    files = [File(name, 1, 1) for name in ("7.jpg", "a.jpg", "faithfulness/f.jpg", "alignment/7.jpg")]
    found = match_files("g", tmp_path, files, prompts)
    keys = {prompts.prompts[image.prompt].key: image.image.file for image in found.images}
    assert keys == {"faithfulness/f": "faithfulness/f.jpg", "alignment/7": "alignment/7.jpg", "alignment/a": "a.jpg"}
    assert found.stray == ("7.jpg",)
