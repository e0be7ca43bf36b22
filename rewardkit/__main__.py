"""``python -m rewardkit VERB [key=value ...]``; also installed as the command ``rewardkit``."""

from __future__ import annotations

import sys

from rewardkit.cli import run


def main() -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
