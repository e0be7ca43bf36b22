"""The command line that all studies share."""

from __future__ import annotations

import argparse
from pathlib import Path


def study_arguments(about: str | None, *, seeds_of: str) -> argparse.Namespace:
    """Parses a study's command line.

    Args:
        about: What the help says of the study.
        seeds_of: What differs between its seeds.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the study; what is finished in it is not run again")
    parser.add_argument("--seeds", default="0,1,2", help=f"seeds of {seeds_of}")
    parser.add_argument("--avt", type=Path, default=None, help="folder of AVT-AI")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, of one thread each")
    parser.add_argument("--short", action="store_true", help="one seed and little of everything: does it all work?")
    parser.add_argument("--page", type=Path, default=None, help="page that the results are written into")
    arguments = parser.parse_args()
    if arguments.short and arguments.page:
        parser.error("--page takes the results of a full study; those of --short mean nothing")
    return arguments
