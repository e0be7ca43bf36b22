"""Training evaluators: what trains and at which rate, train mode, accumulation, live figures, gates in validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.questions import Option, Question, QuestionSet, read_questions
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.train import make_trainer
from rewardkit.models.freezing import groups_of_model
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.small import question_texts, small_qwen2_5_vl
from rewardkit.models.mllm.tuning import LoraOptions, tune
from rewardkit.modules.mllm_evaluator import MLLMEvaluator
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.parameter_groups import model_parameter_groups
from rewardkit.objectives.answers import AnswerObjective
from rewardkit.objectives.on_scores import OnScores
from rewardkit.objectives.options import OptionObjective
from rewardkit.objectives.ordinal import OrdinalObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

GROUPS, STEPS = 4, 3


def an_evaluator(questions: QuestionSet | None = None, *, seed: int = 0, **how: Any) -> MLLMReward:
    """A tiny one that answers the embedded questions, in eval mode as ``from_pretrained`` would give it."""
    questions = questions or read_questions("embedded")
    dimensions = list(dict.fromkeys(question.dimension for question in questions.questions))
    torch.manual_seed(seed)
    base, processor = small_qwen2_5_vl(question_texts([questions]), seed=seed, cells=(1, 4), scaled=True)
    model = MLLMReward(base, processor, dimensions, scores_from="expected")
    tune(model, **{"language": "full", "vision": "full", **how})
    model.rows = QuestionRows(processor, questions, dimensions)
    return model.eval()


def data_for(model: MLLMReward, folder: Path, *, micro: int, val: Path | None = None) -> PreferenceData:
    return PreferenceData(
        train=[folder],
        val=[val] if val else [],
        transform=None,
        tokenizer=None,
        dimensions=model.dimensions,
        dimension_map={"overall": None},
        batch_groups=GROUPS,
        micro_groups=micro,
        rows=model.rows,
    )


def all_terms(dimensions: tuple[str, ...]) -> WeightedObjective:
    return WeightedObjective(
        {
            "option": OptionObjective(dimensions),
            "answer": AnswerObjective(),
            "ordinal": OnScores(OrdinalObjective(dimensions, dict.fromkeys(dimensions, 4)), "ordinal"),
            "bradley_terry": OnScores(PairwiseObjective(dimensions), "expected"),
        }
    )


def train(model: MLLMReward, folder: Path, *, micro: int = GROUPS, val: Path | None = None, **more: Any) -> Any:
    data = data_for(model, folder, micro=micro, val=val)
    module = MLLMEvaluator(
        model,
        all_terms(model.dimensions),
        Optimisation(total_steps=STEPS, lr=1e-3, head_lr=2e-3, weight_decay=0.1, warmup_steps=0, schedule="constant"),
        coefficients={},
        seed=0,
    )
    trainer = make_trainer(
        hardware=Hardware(),
        max_steps=STEPS,
        accumulation=data.accumulation,
        validate_every=STEPS,
        gradient_clip=1.0,
        loggers=[],
        **{"callbacks": [], **more},
    )
    trainer.fit(module, datamodule=data)
    return module


def test_only_what_was_asked_trains(answered_folders: tuple[Path, Path]) -> None:
    model = an_evaluator(language="lora", vision="frozen", projector="frozen", lora=LoraOptions(rank=2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    module = train(model, answered_folders[0])
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any(".lora_A." in name for name in changed) and any(".lora_B." in name for name in changed)
    assert {"score_token.row", "head.ordinal.weight"} <= changed
    # No term is on the regression head: a gradient of zero moves nothing but by decay.
    assert all(".lora_" in name or name.startswith(("head.", "score_token.")) for name in changed)
    optimised = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in module.parameters() if p.requires_grad}


def test_parts_have_rates_of_their_own() -> None:
    model = an_evaluator()
    groups = model_parameter_groups(
        model, all_terms(model.dimensions), lr=1e-3, head_lr=5e-3, weight_decay=0.1, vision_factor=0.5,
        projector_factor=0.1,
    )  # fmt: skip
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    of = {name: rate[id(p)] for name, p in model.named_parameters()}
    layers = {name: g.name for tower in groups_of_model(model).values() for g in tower for name in g.parameters}
    assert {of[name] for name, layer in layers.items() if layer == "image.projection"} == {1e-4}
    assert {of[n] for n, layer in layers.items() if layer.startswith(("image.stem", "image.block"))} == {5e-4}
    assert {of[name] for name, layer in layers.items() if layer.startswith("text.")} == {1e-3}
    assert {of["head.ordinal.weight"], of["score_token.row"]} == {5e-3}


def test_the_base_is_in_train_mode_and_figures_are_kept(answered_folders: tuple[Path, Path]) -> None:
    seen: list[dict[str, float]] = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *more: Any) -> None:
            assert all(part.training for part in module.model.modules())
            seen.append({name: float(value) for name, value in module.step.metrics.items()})

    module = train(an_evaluator(), answered_folders[0], callbacks=[Look()])
    terms = ("option", "answer", "ordinal", "bradley_terry")
    assert all({"loss", "gradient_norm", "score_spread", *(f"loss/{t}" for t in terms)} <= set(one) for one in seen)
    assert seen[0]["loss"] == pytest.approx(sum(seen[0][f"loss/{term}"] for term in terms), rel=1e-5)
    live = {name: metric.compute() for name, metric in module.live_metrics.items()}
    assert set(live) == {"accuracy", "option_accuracy"}
    assert all(0 <= float(value) <= 1 for of in live.values() for value in of.values())


def test_micro_batches_add_up_to_the_step(answered_folders: tuple[Path, Path]) -> None:
    whole, parts = an_evaluator(), an_evaluator()
    train(whole, answered_folders[0], micro=4)
    train(parts, answered_folders[0], micro=1)
    for (name, ours), theirs in zip(whole.named_parameters(), parts.parameters(), strict=True):
        if name.endswith("k_proj.bias") or ".qkv.bias" in name:
            continue  # the key's bias has gradient zero, and AdamW amplifies the noise of it
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_what_is_behind_a_closed_gate_has_no_score(
    answered_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    yes_no = (Option("0", "no", 0.0), Option("1", "yes", 1.0))
    questions = QuestionSet(
        "gated",
        "",
        (
            Question("is_there", "Is anything there?", yes_no, "aesthetic", "Is anything there?"),
            Question("fine", "Is it fine?", yes_no, "fidelity", "Is it fine?", needs=("is_there",)),
        ),
    )
    model = an_evaluator(questions)
    assert model.rows is not None
    module = MLLMEvaluator(
        model, WeightedObjective({"answer": AnswerObjective()}), Optimisation(total_steps=1), coefficients={}, seed=0
    )
    of_data = next(iter(data_for(an_evaluator(), answered_folders[0], micro=1).train_dataloader()))
    black = torch.zeros(3, 32, 32, dtype=torch.uint8)
    rows = model.rows.collate([model.rows.read(black, "", questions.questions)])
    batch = replace(of_data, questions=rows)
    output = model(rows)
    for yes in (-9.0, 9.0):
        logits = torch.tensor([[0.0, yes, -torch.inf], [0.0, 1.0, -torch.inf]])
        answered = replace(output, option_logits=logits)
        monkeypatch.setattr(module, "forward", lambda batch, answered=answered: answered)
        scores = module.validation_step(batch, 0).scores
        assert scores.shape == (1, 2) and not scores[0, 0].isnan()
        assert bool(scores[0, 1].isnan()) == (yes < 0)
