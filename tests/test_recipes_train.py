"""Every recipe takes one step at every scale, with its towers replaced by tiny ones where they are large."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import DEMO_DIMENSIONS

from rewardkit import cli
from rewardkit.config.recipes import compose_fit, read_recipe, shipped_recipes

CASES = [(name, scale) for name, path in shipped_recipes().items() for scale in read_recipe(path).scales or (None,)]
TINY = ["trainer.max_steps=1", "trainer.validate_every=1", "optim.warmup_steps=0", "evaluation.bootstrap=100"]


def test_there_are_recipes() -> None:
    assert ("hpsv2", "demo") in CASES and ("hpsv2", "paper") in CASES


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), CASES)
def test_one_step(
    name: str,
    scale: str | None,
    tiny_tower: Path,
    tiny_blip: Path,
    demo_folders: tuple[Path, Path],
    answered_folders: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    options = compose_fit({"recipe": name} | ({"scale": scale} if scale else {})).options
    asks = options.model.kind == "mllm"
    folders = answered_folders if asks else demo_folders
    arguments = [f"recipe={name}", *([f"scale={scale}"] if scale else []), f"run.dir={tmp_path}", "run.name=one", *TINY]
    arguments += [f"data.train={folders[0]}", f"data.val={folders[1]}", "data.workers=0"]
    arguments += ["data.batch_groups=4", "data.micro_groups=2"]
    if scale == "paper" and asks:  # a base and questions that can be had here; the rest of the recipe as it is
        arguments += ["model.architecture=small", "model.pretrained=null", "model.questions=embedded"]
        arguments += ["model.mllm.dtype=float32", "model.mllm.max_pixels=null", "data.dimension_map={overall: null}"]
        # The small tower's stem gives a tuple, which transformers' checkpointing cannot take.
        arguments += ["trainer.strategy=auto", "model.gradient_checkpointing=false"]
    elif scale == "paper":  # large towers and weights that cannot be had here; the rest of the recipe as it is
        tower = tiny_blip if options.model.kind == "blip" else tiny_tower
        arguments += [f"model.architecture={tower}", "model.pretrained=null", "transform.size=null"]
        if not options.data.features:  # these keep the towers frozen
            arguments += ["model.unlocked_image_groups=2", "model.unlocked_text_layers=1"]
        arguments += ["trainer.precision=bf16"]
        arguments += [f"model.dimensions={','.join(DEMO_DIMENSIONS)}"]
    assert cli.run(["fit", *arguments]) == 0
    assert (tmp_path / name / "one" / "bundle" / "model.safetensors").is_file()
