"""Data sets from the hub, for domains that read them; needs the `hub` extra."""

from __future__ import annotations

import re
from typing import Any

from common.errors import UserError, first_line

_NAME = re.compile(r"(?P<repository>[^:\[]*):?(?P<split>[^\[]*)(?P<part>.*)", re.DOTALL)


def load_split(name: str, *, default: str) -> tuple[Any, str, str]:
    """The rows of `OWNER/NAME[:SPLIT]`, or of the part `[FROM:TO]` after it.

    Args:
        name: a source without "hub:"; `datasets` parses the part, so it may be in percent.
        default: the split if none is named.

    Returns:
        The rows, the repository and the split with its part.

    Raises:
        UserError: the extra is not installed, the name or split is unknown, or the network fails.
    """
    try:
        # The import is slow, and few runs need it.
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            expected=f"the package `datasets`, for hub:{name}",
            got="it is not installed",
            fix="pip install 'hyperfitting[hub]'",
        ) from error
    named = _NAME.fullmatch(name)
    assert named is not None  # anything matches
    repository, split = named["repository"], (named["split"] or default) + named["part"]
    try:
        rows: Any = datasets.load_dataset(repository, split=split)
    except (OSError, ValueError, RuntimeError) as error:  # no network, unknown name or split
        raise UserError(
            expected=f"split {split!r} of {repository!r} on the hub, reached over the network or "
            "cached",
            got=first_line(error),
            fix="check the name, the split and the connection, or use local files",
        ) from error
    return rows, repository, split
