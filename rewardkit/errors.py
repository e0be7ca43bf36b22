"""The few kinds of error that rewardkit raises on purpose, and the exit code of each.

A user's mistake carries what is wrong, where, the nearest right thing and what to do, in one message; the command
line prints that message without a traceback. Anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_DONE = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130


class RewardkitError(Exception):
    """A failure that rewardkit can explain: the work could not be done (exit code 1)."""

    exit_code: int = EXIT_FAILURE


class UserError(RewardkitError):
    """A mistake in what the user gave: a key, a value, a path, an option (exit code 2)."""

    exit_code = EXIT_USAGE


class ConfigError(UserError):
    """One or more wrong keys, types or values, reported all at once.

    Args:
        problems: One message per mistake, each with the full key and where it was set.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class DataError(RewardkitError):
    """Data on disk that cannot be used: a broken shard, a record that contradicts itself, too many bad samples."""


class CheckpointError(RewardkitError):
    """Weights or a checkpoint that do not fit the model they are loaded into."""


class BadSample(DataError):
    """One sample that cannot be used, named so that it can be found (see ``data/bad_samples.py``).

    Args:
        reason: What is wrong with it, in a few words.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
