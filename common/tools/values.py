"""Values that are invalid for every option, checked once where options are read.

A NaN passes comparisons that should refuse it. A number beyond 2**53 changes in JSON. A name with a
NUL or invalid UTF-8 can be neither opened nor written into a page. The range of a single option is
checked elsewhere.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError

LARGEST = 2**53
"""Whole numbers up to here are the same in JSON and as floats."""
LARGEST_SEED = 2**32 - 1
"""The largest seed that numpy accepts."""


def check_values(config: Any, prefix: str = "") -> None:
    """Refuse values that are invalid for every option.

    Args:
        config: a dataclass of options, or of groups of them.
        prefix: of the dotted names.

    Raises:
        UserError: a number that is not finite or too large, a text that is empty where the default
            is not, or one with a NUL or with bytes that are no UTF-8; names the option.
    """
    for entry in fields(config):
        name, value = f"{prefix}{entry.name}", getattr(config, entry.name)
        if is_dataclass(value):
            check_values(value, f"{name}.")
            continue
        for leaf in _leaves(value):
            expected = _fault(leaf, may_be_empty=entry.default == "")
            if expected is not None:
                raise UserError(
                    expected=f"{name} to be {expected}",
                    got=repr(leaf)[:100],
                    fix=f"change --{name}",
                )


def seed_fits(seed: int | None) -> bool:
    """Whether every random number generator accepts this seed; None is no seed."""
    return seed is None or 0 <= seed <= LARGEST_SEED


SEED_RANGE = f"from 0 to {LARGEST_SEED}"


def path_argument(text: str) -> Path:
    """Type of a path argument for argparse, which reports the error itself."""
    expected = _fault(text, may_be_empty=False)
    if expected is not None:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return Path(text)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *_leaves(inner))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _fault(value: Any, *, may_be_empty: bool) -> str | None:
    """What a value should have been, or None if it is valid."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"a number of at most {LARGEST:,}"
    if isinstance(value, str):
        if not value and not may_be_empty:
            return "something, or left out"
        if "\0" in value or not _is_utf8(value):
            return "text in UTF-8 without a NUL"
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
