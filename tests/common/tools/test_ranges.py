"""Ranges beside their fields: what they let through, their words, the one check, the help."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import pytest

from common.errors import UserError
from common.tools.options import parse
from common.tools.ranges import (
    Count,
    Decay,
    Positive,
    Range,
    Seed,
    Share,
    above,
    at_least,
    between,
)
from common.tools.values import check_values, ranges_of


@pytest.mark.parametrize(
    ("allowed", "words", "inside", "outside"),
    [
        (at_least(1), "at least 1", (1, 5), (0, -1)),
        (above(0), "a positive number", (1e-9, 3), (0, -1)),
        (above(1), "above 1", (1.1,), (1, 0)),
        (between(8, 1024), "from 8 to 1,024", (8, 1024), (7, 1025)),
        (Range(low=0, high=1, below=True), "in [0, 1)", (0, 0.5), (1, -0.1)),
        (Range(low=0, high=1, above=True), "in (0, 1]", (1, 0.5), (0, 1.1)),
        (Range(low=0, high=1e3, above=True), "a positive number of at most 1,000.0", (1e3,), (0,)),
        (Range(high=3), "at most 3", (3, -9), (4,)),
        (Range(high=3, below=True), "below 3", (2,), (3,)),
    ],
)
def test_a_range_and_its_words(
    allowed: Range, words: str, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    assert repr(allowed) == words
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    """A group."""

    rate: Positive | Literal["auto"] = "auto"
    """A rate."""
    widths: tuple[Annotated[int, between(1, 8)], ...] = (1, 2)
    """Widths."""
    decay: Decay = 0.9
    """A decay."""
    share: Share = 1.0
    """A share."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Some options."""

    every: Count | None = None
    """Every so many."""
    seed: Seed = 0
    """A seed."""
    free: int = -1
    """Any number."""
    inner: Inner = dataclasses.field(default_factory=Inner)
    """A group."""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--every=0", "expected every to be at least 1, or null; got 0; change --every"),
        ("--seed=-1", "expected seed to be from 0 to 4,294,967,295; got -1"),
        ("--inner.rate=0", "expected inner.rate to be a positive number, or auto; got 0.0"),
        ("--inner.widths=[1,9]", "expected inner.widths to be from 1 to 8; got 9"),
        ("--inner.decay=1", "expected inner.decay to be in [0, 1); got 1.0"),
        ("--inner.share=0", "expected inner.share to be in (0, 1]; got 0.0"),
    ],
)
def test_what_lies_outside_is_refused_where_options_are_read(argv: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(Options, [argv], prog="some", description="")
    assert said in str(caught.value)


def test_limits_null_and_words_pass() -> None:
    argv = ["--every=null", "--inner.rate=auto", "--inner.widths=[1,8]", "--free=-7"]
    options = parse(Options, argv, prog="some", description="")
    assert options == Options(free=-7, inner=Inner(widths=(1, 8)))
    check_values(Options(every=1, seed=2**32 - 1, inner=Inner(rate=1e-9, decay=0.0)))
    assert set(ranges_of(Options)) == {"every", "seed"}


def test_options_made_in_python_are_named_without_dashes() -> None:
    with pytest.raises(UserError, match=r"group\.every to be at least 1.*change group\.every$"):
        check_values(Options(every=0), "group.", option="")


def test_help_shows_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Options, ["--help"], prog="some", description="")
    told = " ".join(capsys.readouterr().out.split())
    assert "Every so many. Range: at least 1, or null. (type:" in told
    assert "Widths. Range: from 1 to 8. (type:" in told and "Any number. (type:" in told


def test_help_leaves_the_lines_of_the_description(capsys: pytest.CaptureFixture[str]) -> None:
    examples = "Does a thing.\n\n    some --every 2     every second one\n    some --free 3"
    with pytest.raises(SystemExit):
        parse(Options, ["--help"], prog="some", description=examples)
    assert examples in capsys.readouterr().out
