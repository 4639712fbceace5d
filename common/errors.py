"""One error type for everything a user can cause, and the exit codes of the command line.

A user reads one line: what was expected, what the program got, and what to do about it. Only our
own bugs, `assert` failures and any other exception, print a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141


class UserError(ValueError):
    """A mistake that the user can correct, reported in one line.

    Args:
        expected: what the program needed, e.g. "a folder with config.json".
        got: what it found instead, e.g. "'runs/x' does not exist".
        fix: what to do, e.g. "pass --model.path a checkpoint folder or a hub id".
    """

    def __init__(self, *, expected: str, got: str, fix: str) -> None:
        self.expected, self.got, self.fix = expected, got, fix
        line = f"expected {expected}; got {got}; {fix}"
        super().__init__(" ".join(line.split()))


def first_line(error: BaseException) -> str:
    """What a library's error says, short enough for the one line that a user reads; its class
    where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def run_cli(main: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Call `main(argv)` and turn a `UserError` into one line on stderr and exit code 2.

    Ctrl-C gives 130, the shell convention, once `main` has saved what it can. If the reader of our
    output closes it early, as `head` does, the command ends silently with 141.
    """
    try:
        code = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Discard what is still buffered: Python would report it as an error when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_NO_READER
