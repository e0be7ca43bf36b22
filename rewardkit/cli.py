"""From argv to verb: help, dispatch, and the one place where errors become messages and exit codes.

Heavy imports happen inside the verbs, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Callable, Sequence

from rewardkit import __version__
from rewardkit.config.messages import did_you_mean
from rewardkit.config.verbs import VERBS
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, RewardkitError, UserError

HELP_FLAGS = ("--help", "-h", "help")


def run(arguments: Sequence[str]) -> int:
    """Runs one command line.

    Returns:
        The exit code: 0 done, 1 failure, 2 user's mistake, 75 preempted and saved, 130 interrupted.
    """
    return explained(lambda: _dispatch(list(arguments)))


def explained(work: Callable[[], int]) -> int:
    """What a command returns, or where it fails its message and exit code; the scripts in tools/ end with it too."""
    try:
        return work()
    except RewardkitError as error:
        print(_message(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away; nothing is left to say to it
        return EXIT_FAILURE
    except OSError as error:
        explained = _explain(error)
        if explained is None:
            raise
        print(f"error: {explained}", file=sys.stderr)
        return EXIT_FAILURE


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in HELP_FLAGS:
        from rewardkit.config.help import program_help

        print(program_help(__version__))
        return EXIT_DONE
    if arguments[0] in ("--version", "version"):
        print(f"rewardkit {__version__}")
        return EXIT_DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(
            f"{verb!r} is not a verb.{did_you_mean(verb, VERBS)} The verbs are {', '.join(VERBS)}; "
            "`python -m rewardkit --help` says what each does."
        )
    command = importlib.import_module(f"rewardkit.commands.{verb}")
    if any(argument in HELP_FLAGS for argument in rest):
        print(command.help_text([argument for argument in rest if argument not in HELP_FLAGS]))
        return EXIT_DONE
    code: int = command.run(rest)
    return code


def _message(error: RewardkitError) -> str:
    """The error as the user reads it; a user's mistakes one per line."""
    lines = str(error).splitlines() or [type(error).__name__]
    if error.exit_code == EXIT_USAGE and len(lines) > 1:
        return "\n".join([f"error: {len(lines)} mistakes", *(f"  {line}" for line in lines)])
    return "\n".join([f"error: {lines[0]}", *(f"  {line}" for line in lines[1:])])


def _explain(error: OSError) -> str | None:
    """Words for the operating system's refusals that are no bug of ours."""
    where = f" ({error.filename})" if error.filename else ""
    known = {
        errno.ENOSPC: "the disk is full; free some space and run the command again",
        errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
        errno.EACCES: "permission denied",
        errno.EPERM: "not permitted",
        errno.EROFS: "the file system is read-only",
        errno.ENOENT: "no such file or folder",
        errno.EISDIR: "is a folder, not a file",
        errno.ENOTDIR: "is a file, not a folder",
    }
    return f"{known[error.errno]}{where}" if error.errno in known else None
