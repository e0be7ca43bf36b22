"""Environments of peers, made on first use: packages come from the registry and are never kept here.

``hpsv2==1.2.0`` holds the published trainer and scorer of HPS v2 (with its own copy of open_clip 2.16). Its
environment is a virtual environment of its own under ``--out``, whose path ends with this interpreter's packages: peer
and rewardkit compute with the same PyTorch, and the peer's own packages come first. Its wheel lacks the vocabulary of
the tokenizer, so that it cannot be imported; open_clip ships the same file, which is copied there. So is
``rewardkit/_torchvision.py``, which lets a torchvision built for GPUs be imported beside a PyTorch that is not.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import rewardkit

HPSV2 = ("hpsv2==1.2.0", "clint==0.5.1", "args==0.1.0", "einops>=0.6")
"""Installed without what they depend on, which this interpreter has: hpsv2 asks for pytest 7.2 and protobuf below 4."""

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"


def hpsv2_python(folder: Path) -> Path:
    """The interpreter of the peer's environment; made where it is not there.

    Args:
        folder: Where environments lie.
    """
    environment = folder / "hpsv2"
    python = environment / "bin" / "python"
    done = environment / "whole"
    if done.exists():
        return python
    print(f"making {environment} from the package registry", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *HPSV2]
    subprocess.run(pip, check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None and spec.origin is not None
    shutil.copy(Path(spec.origin).with_name(VOCABULARY), packages / "hpsv2" / "src" / "open_clip" / VOCABULARY)
    assert rewardkit.__file__ is not None
    shutil.copy(Path(rewardkit.__file__).with_name("_torchvision.py"), packages / "_torchvision.py")
    done.touch()
    return python
