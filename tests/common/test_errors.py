"""What a user reads, and the exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from common.errors import (
    EXIT_INTERRUPTED,
    EXIT_NO_READER,
    EXIT_USER_ERROR,
    UserError,
    first_line,
    run_cli,
)


def test_one_line_that_says_what_to_do() -> None:
    error = UserError(expected="a\n  number", got="'x'", fix="change\tit")
    assert str(error) == "expected a number; got 'x'; change it"
    assert (error.expected, error.got, error.fix) == ("a\n  number", "'x'", "change\tit")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no such file\nTraceback: ...", "no such file"),
        ("\n\n  after blank lines\nmore", "after blank lines"),
        ("", "OSError"),
        (" \n", "OSError"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_the_first_line_of_a_library_error(said: str, told: str) -> None:
    assert first_line(OSError(said)) == told


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def refuses(_: list[str]) -> int:
        raise UserError(expected="this", got="that", fix="mend it")

    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    assert run_cli(lambda argv: len(argv), ["a", "b"]) == 2
    assert run_cli(refuses, []) == EXIT_USER_ERROR == 2
    assert run_cli(interrupted, []) == EXIT_INTERRUPTED == 130
    out, err = capsys.readouterr()
    assert out == "" and err == "error: expected this; got that; mend it\ninterrupted\n"


def test_our_own_bugs_keep_their_traceback() -> None:
    def bug(_: list[str]) -> int:
        raise AssertionError("ours")

    with pytest.raises(AssertionError, match="ours"):
        run_cli(bug, [])


def test_arguments_default_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "--x"])
    seen: list[list[str]] = []
    assert run_cli(lambda argv: seen.append(argv) or 0) == 0
    assert seen == [["--x"]]


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_enough_is_no_error(lines: int) -> None:
    code = f"""
import sys
from common.errors import run_cli
sys.exit(run_cli(lambda _: [print("line") for _ in range({lines})] and 0, []))
"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (EXIT_NO_READER, "")
