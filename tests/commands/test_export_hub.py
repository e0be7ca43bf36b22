"""``export hub=…`` against a loopback hub: what goes out, what does not, and what is said when it cannot."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hub_server import TOKEN, HubServer, serve_hub
from tiny_run import TINY_TOWER

import rewardkit
from rewardkit import cli
from rewardkit.models.bundle import save_bundle
from rewardkit.models.clip import build_clip_reward
from rewardkit.models.sharing import private_parts

Export = Callable[..., tuple[int, str]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that huggingface_hub takes for the real one, and the right token."""
    import huggingface_hub.constants as constants

    with serve_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as a run leaves it, with places of this machine in its recipe."""
    folder = tmp_path_factory.mktemp("made")
    tower = folder / "tiny.json"
    tower.write_text(json.dumps(TINY_TOWER), encoding="utf-8")
    torch.manual_seed(0)
    model = build_clip_reward(architecture=tower, dimensions=("overall",))
    row = {"set": "val", "step": 9, "selected": "best of 2 validations on this set so far", "dimension": "overall",
           "protocol": "strict_micro", "metric": "accuracy", "value": 0.61, "low": 0.55, "high": 0.66,
           "comparisons": 300, "groups": 50, "chance": 0.5, "annotator_agreement": 0.8,
           "which_generator": 0.63}  # fmt: skip
    data = [{"use": "training", "set": None, "groups": 4000, "images": 16000, "comparisons": {"overall": 24000},
             "answers": 0, "sources": {"hpdv2": 4000}, "made": {"action": "convert", "format": "hpdv2"},
             "digest": "ab" * 32}]  # fmt: skip
    return save_bundle(
        folder / "runs" / "hpsv2" / "first" / "bundle",
        model,
        calibration={"overall": {"candidates": 4, "mean": 0.25, "std": 0.5, "quantiles": {"0.5": 0.125}}},
        evaluation=[row],
        recipe={"model.pretrained": f"{Path.home()}/weights/open.pt", "data.shards": "https://me:secret@host.org/val?key=1",
                "optim.lr": 1e-4},
        data=data,
    )  # fmt: skip


@pytest.fixture
def export(bundle: Path, capsys: pytest.CaptureFixture[str]) -> Export:
    """Runs ``export`` of the bundle; gives the exit code and all that was said."""

    def run(*arguments: str) -> tuple[int, str]:
        code = cli.run(["export", f"model={bundle}", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_bundle_goes_out_whole_and_can_be_loaded(
    hub: HubServer, export: Export, bundle: Path, tmp_path: Path
) -> None:
    code, said = export("hub=me/tiny", "license=apache-2.0", "private=true")
    assert code == 0, said
    assert f"sent to {hub.url}/me/tiny/commit/abc" in said and "model.safetensors" in said
    assert hub.repositories == {"me/tiny": True}
    for (_, path), content in hub.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    sent, own = rewardkit.load(tmp_path), rewardkit.load(bundle)
    assert sent.calibration == own.calibration and sent.dimensions == own.dimensions
    for name, tensor in own.model.state_dict().items():
        assert torch.equal(tensor, sent.model.state_dict()[name])


def test_the_card_says_what_a_user_must_know(hub: HubServer, export: Export) -> None:
    assert export("hub=me/tiny", "license=apache-2.0")[0] == 0
    card = hub.files["me/tiny", "README.md"].decode()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "apache-2.0" and head["library_name"] == "rewardkit" and "reward-model" in head["tags"]
    for said in (
        'rewardkit.load("me/tiny")', "to=open_clip", "to=transformers", 'load_file("me/tiny/model.safetensors")',
        "| training | 4,000 | 16,000 | overall 24,000 | hpdv2 4,000 | action convert, format hpdv2 |",
        "| val | overall | strict_micro | 0.6100 | 0.550 to 0.660 | 300 | 50 | 0.5000 | 0.8000 | 0.6300 |",
        "no better than always preferring the generator that wins more often: overall", "Intended use", "Known limits",
        "one prompt only", "best of 2 validations", "| overall | 4 | 0.2500",
    ):  # fmt: skip
        assert said in card, said


def test_nothing_of_this_machine_goes_out(hub: HubServer, export: Export, bundle: Path) -> None:
    assert export("hub=me/tiny")[0] == 0
    everything = b"\n".join(hub.sent)
    for word in (str(Path.home()), str(bundle.parent), "me:secret", "key=1", TOKEN):
        assert word.encode() not in everything, word
    recipe = json.loads(hub.files["me/tiny", "bundle.json"])["recipe"]
    assert recipe == {"model.pretrained": "…/open.pt", "data.shards": "https://host.org/val", "optim.lr": 1e-4}
    own = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["recipe"]
    assert own["model.pretrained"] == f"{Path.home()}/weights/open.pt", "the bundle here stays as it was"


def test_a_secret_is_refused_and_not_repeated(hub: HubServer, export: Export, tmp_path: Path) -> None:
    for text, what in ((f"token {TOKEN}", "an access token"), (f"in {Path.cwd()}/x", "a path of this machine")):
        file = tmp_path / "notes.txt"
        file.write_text(text, encoding="utf-8")
        assert private_parts(file) == [what]
    file.write_text("a cat on a roof, /home run", encoding="utf-8")
    assert private_parts(file) == []
    code, said = export("hub=me/tiny", f"license={TOKEN}")
    assert code == 2 and "nothing was sent" in said and "README.md: an access token" in said and TOKEN not in said
    assert hub.asked == []


def test_a_dry_run_shows_files_and_card_and_asks_nobody(hub: HubServer, export: Export, bundle: Path) -> None:
    code, said = export("hub=me/tiny", "dry_run=true")
    assert code == 0 and hub.asked == []
    assert f"{(bundle / 'model.safetensors').stat().st_size:,}" in said and "3 files" in said
    assert "no licence is stated" in said and "# me/tiny: a rewardkit reward model" in said


@pytest.mark.parametrize(("to", "weights"), [("open_clip", "open_clip_model"), ("transformers", "model")])
def test_other_forms_go_with_a_card_and_the_calibration(hub: HubServer, export: Export, to: str, weights: str) -> None:
    code, said = export("hub=me/tiny", f"to={to}")
    assert code == 0, said
    assert ("me/tiny", f"{weights}.safetensors") in hub.files
    beside = json.loads(hub.files["me/tiny", "rewardkit.json"])
    assert beside["calibration"]["overall"]["mean"] == 0.25 and beside["dimensions"] == ["overall"]
    loads = {"open_clip": "open_clip.create_model", "transformers": "CLIPModel.from_pretrained"}[to]
    assert loads in hub.files["me/tiny", "README.md"].decode()


def test_what_cannot_be_sent_is_said_in_one_message(
    hub: HubServer, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(code: int, *words: str, arguments: tuple[str, ...] = ("hub=me/tiny",)) -> None:
        found, said = export(*arguments)
        assert found == code, said
        assert all(word in said for word in words) and "Traceback" not in said, said

    hub.repositories["me/old"] = False
    fails(2, "hub=me/old exists already", "update=true", arguments=("hub=me/old",))
    assert export("hub=me/old", "update=true")[0] == 0 and ("me/old", "bundle.json") in hub.files
    fails(2, "hub=others/tiny", "may not write there", arguments=("hub=others/tiny",))
    hub.breaks = "/objects/"
    fails(1, f"{hub.url} cannot be reached, or the connection broke", "run the same command again")
    assert ("me/tiny", "bundle.json") not in hub.files
    hub.breaks, hub.repositories = None, {}
    monkeypatch.setenv("HF_TOKEN", "hf_" + "wrong" * 6)
    fails(2, "the access token is missing or wrong", "hf auth login")


def test_a_hub_that_is_not_there(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, said = export("hub=me/tiny")
    assert code == 1 and f"hub=me/tiny: {address} cannot be reached" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hub=tiny"], "ORG/NAME"),
        (["hub=a/b/c"], "ORG/NAME"),
        (["hub=../x"], "ORG/NAME"),
        (["dry_run=true", "out=x"], "dry_run= is for hub=ORG/NAME"),
        (["license=mit", "out=x"], "license= is for hub=ORG/NAME"),
        ([], "hub=ORG/NAME"),
    ],
)
def test_wrong_arguments(export: Export, arguments: list[str], words: str) -> None:
    code, said = export(*arguments)
    assert code == 2 and words in said
