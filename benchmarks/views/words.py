"""Numbers as words: one way to write a value, its interval and its relation to another."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.views.groups import Value
from common.metric_names import metric_label

_OF_NETWORK = re.compile(r"(\w+)(\[.+\])")


def decimals(values: Sequence[float]) -> int:
    """How many decimals a column of these values has: none for counts, three for shares."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1 and all(float(value).is_integer() for value in values):
        return 0
    return 3 if largest < 1.05 else 2 if largest < 10 else 1 if largest < 1000 else 0


def number(value: float, places: int | None = None) -> str:
    """Three significant digits or so, without an exponent: 0.612, 4.23, 99.9, 1,801.

    Args:
        value: what is written.
        places: decimals; by the value's own size when None.
    """
    return f"{value:z,.{decimals([value]) if places is None else places}f}"


def told(value: Value) -> str:
    """ "0.612 [0.598, 0.625]"; the mean alone where there is no interval."""
    if value.low is None or value.high is None:
        return number(value.mean)
    places = decimals([value.mean, value.low, value.high])
    low, high = number(value.low, places), number(value.high, places)
    return f"{number(value.mean, places)} [{low},\u00a0{high}]"


def share(value: Value) -> str:
    """ "13.8 % [8.8, 18.8]" of a share between 0 and 1."""
    percent = f"{100 * value.mean:.1f}\u00a0%"
    if value.low is None or value.high is None:
        return percent
    return f"{percent} [{100 * value.low:.1f},\u00a0{100 * value.high:.1f}]"


def relation(above: bool | None, *, subject: str, other: str) -> str:
    """ "hyperfitted is above original", "... below ...", "... cannot be told apart from ..."."""
    if above is None:
        return f"{subject} cannot be told apart from {other}"
    return f"{subject} is {'above' if above else 'below'} {other}"


def metric_head(metric: str) -> str:
    """ "FID [cifar-net]" of "fid[cifar-net]"; other metrics as everywhere."""
    if match := _OF_NETWORK.fullmatch(metric):
        name = match[1].upper() if len(match[1]) == 3 else match[1]
        return f"{name} {match[2]}"
    return metric_label(metric)
