"""The planned memory of a rank against what training really takes, above the imports, on a CPU.

    python tools/bench/plan_memory.py [--case NAME ...] [--json FILE] [--check]

Each case is a process of its own: model, data and optimiser are built as ``fit`` builds them, the plan is made as
``dry_run=true`` makes it, then optimiser steps are taken. Measured is the highest resident memory (``VmHWM``, set back
before each step) less that of the process right after its imports. The demand is a plan within 25 % of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rounds import Figure, Report

WITHIN = 0.25
"""Largest difference of the plan, of what was measured."""

STEPS = 3
"""Optimiser steps; the first makes the moments."""

COMMON = [
    "recipe=hpsv2", "transform.size=null", "trainer.threads=1", "trainer.precision=32", "data.workers=0",
    "data.embedded.train_groups=64", "data.embedded.val_groups=8", "objective.name=bradley_terry",
    "trainer.max_steps=20", "trainer.validate_every=10", "optim.warmup_steps=5",
]  # fmt: skip

CASES = {
    "ViT-B-32, 32 images": ["model.architecture=ViT-B-32", "data.batch_groups=8", "data.micro_groups=8"],
    "ViT-B-32, 64 images": ["model.architecture=ViT-B-32", "data.batch_groups=16", "data.micro_groups=16"],
    "ViT-B-16, 16 images": ["model.architecture=ViT-B-16", "data.batch_groups=4", "data.micro_groups=4"],
    "ViT-L-14, 4 images, 6 + 6 layers trained": [
        "model.architecture=ViT-L-14", "data.batch_groups=1", "data.micro_groups=1",
        "model.unlocked_image_groups=6", "model.unlocked_text_layers=6",
    ],
}  # fmt: skip


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a plan is too far off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="one or more of the cases; all by default")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a plan is too far off")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        print(json.dumps(measure([*COMMON, *CASES[asked.inside]])))
        return 0
    report = Report("memory of a rank", {"steps": STEPS})
    for case in asked.case or CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--inside", case], stdout=subprocess.PIPE, text=True, check=True
        )
        planned, measured = json.loads(done.stdout.splitlines()[-1])
        report.figures += [
            Figure(f"{case}: planned", "MB", [planned / 1e6], digits=0),
            Figure(f"{case}: measured", "MB", [measured / 1e6], digits=0),
            Figure(f"{case}: off by", "", [abs(planned / measured - 1)], -WITHIN),
        ]
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def measure(arguments: list[str]) -> tuple[float, int]:
    """Bytes that the plan says and that steps took, in this process."""
    from rewardkit.commands.build_data import build_data
    from rewardkit.commands.build_hardware import build_hardware
    from rewardkit.commands.build_model import build_model
    from rewardkit.commands.build_module import build_module
    from rewardkit.config.compose import parse_overrides
    from rewardkit.config.recipes import compose_fit
    from rewardkit.engine.activations import activation_bytes
    from rewardkit.engine.plan import plan_run, size_of
    from rewardkit.engine.train import set_threads

    imports = _memory("VmRSS")
    options = compose_fit(parse_overrides(arguments)).options
    hardware = build_hardware(options.trainer)
    set_threads(options.trainer.threads)
    model = build_model(options)
    data = build_data(options, model, ranks=hardware.ranks, errors_path=None, console=Console(quiet=True))
    module = build_module(options, model, data)
    batch = next(iter(data.train_dataloader()))
    size = size_of(module, activation_bytes(module, batch, precision=hardware.precision))
    planned = plan_run(size, hardware, accumulation=data.accumulation).device.together
    optimizer = module.configure_optimizers()["optimizer"]
    for _ in range(STEPS):
        Path("/proc/self/clear_refs").write_text("5")
        optimizer.zero_grad()
        module.objective(module(batch), batch, batch.denominators).total.backward()
        optimizer.step()
    return planned, _memory("VmHWM") - imports


def _memory(name: str) -> int:
    """A line of ``/proc/self/status``, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
