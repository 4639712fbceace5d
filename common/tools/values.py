"""The one check of single options: values that are invalid for every option, and the range that
stands beside an option's field (`common.tools.ranges`).

A NaN passes comparisons that should refuse it. A number beyond 2**53 changes in JSON. A name with a
NUL or invalid UTF-8 can be neither opened nor written into a page. Rules between options are
functions beside them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from common.errors import UserError
from common.tools.ranges import Range

LARGEST = 2**53
"""Whole numbers up to here are the same in JSON and as floats."""


def check_values(config: Any, prefix: str = "", *, option: str = "--") -> None:
    """Refuse values that an option cannot have.

    Args:
        config: a dataclass of options, or of groups of them.
        prefix: of the dotted names.
        option: what stands before a name that is to be changed.

    Raises:
        UserError: a number that is not finite, too large or outside the range beside its field, a
            text that is empty where the default is not, or one with a NUL or with bytes that are no
            UTF-8; names the option.
    """
    ranges = ranges_of(type(config))
    for entry in fields(config):
        name, value = f"{prefix}{entry.name}", getattr(config, entry.name)
        if is_dataclass(value):
            check_values(value, f"{name}.", option=option)
            continue
        for leaf in _leaves(value):
            expected = _fault(leaf, may_be_empty=entry.default == "")
            if expected is None and isinstance(leaf, (int, float)) and entry.name in ranges:
                allowed, words = ranges[entry.name]
                expected = None if leaf in allowed else words
            if expected is not None:
                raise UserError(
                    expected=f"{name} to be {expected}",
                    got=repr(leaf)[:100],
                    fix=f"change {option}{name}",
                )


@lru_cache(maxsize=64)  # resolving the annotations of a class takes a millisecond
def ranges_of(config_class: type) -> dict[str, tuple[Range, str]]:
    """Field -> the range that its annotation holds, and in words what the option can be.

    Args:
        config_class: a dataclass of options; its groups have ranges of their own.
    """
    found: dict[str, tuple[Range, str]] = {}
    for name, hint in get_type_hints(config_class, include_extras=True).items():
        parts = list(_annotation_parts(hint))
        ranges = [part for part in parts if isinstance(part, Range)]
        others = [part for part in parts if isinstance(part, str)]
        if ranges:
            (allowed,) = ranges
            found[name] = (allowed, ", or ".join([repr(allowed), *others]))
    return found


def _annotation_parts(hint: Any) -> Iterator[Range | str]:
    """The range in an annotation, and the words ("auto", "null") that may stand for a number."""
    if hint is NoneType:
        yield "null"
    elif get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        yield from (note for note in notes if isinstance(note, Range))
        yield from _annotation_parts(kind)
    else:
        for inner in get_args(hint):
            yield from _annotation_parts(inner)


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
