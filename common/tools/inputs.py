"""Keeps what a command reads apart from where it writes.

`--model runs/x/model --out runs/x --overwrite` would delete the model before it is loaded; results
written into the folder of the training images would be training images the next time. Both are
refused before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from common.errors import UserError

EMBEDDED = "embedded"
"""The model, or tokenizer, inside a package."""
Named = tuple[str, Path]
"""An option, and a path that it names."""


def embedded_folder(package: str) -> Path:
    """The checkpoint folder of the model inside a package."""
    return Path(str(files(package) / "assets" / "base"))


def local_path(value: str) -> Path | None:
    """The file or folder that a value names on this machine, or None: it may be a hub id."""
    path = Path(os.path.expanduser(value))
    return path if value and os.path.exists(path) else None


def named_paths(option: str, *values: str | None) -> list[Named]:
    """The option with each value that is a path on this machine."""
    paths = (local_path(value) for value in values if value is not None)
    return [(option, path) for path in paths if path is not None]


def looks_local(value: str) -> bool:
    """Whether a name can only be a path: a hub id has one slash at most and begins with a word, and
    a GGUF file is one on this machine."""
    shaped = value.startswith((".", "/", "~")) or value.count("/") > 1
    return shaped or value.lower().endswith(".gguf")


def check_there(option: str, value: str | None, *, expected: str) -> None:
    """Refuse a path that is not there, before anything heavy is loaded to find that out.

    Args:
        option: that names it.
        value: a path, a hub id, or None; what may be a hub id is left to who loads it.
        expected: what the option takes.

    Raises:
        UserError: names the path.
    """
    if value is not None and looks_local(value) and not os.path.exists(os.path.expanduser(value)):
        raise UserError(
            expected=expected,
            got=f"{value!r}, which does not exist",
            fix=f"mend the path of {option}",
        )


def keep_apart(out: Path, inputs: Iterable[Named], *, searched: Iterable[Named] = ()) -> None:
    """Refuse an input in the place of the output, and an output in a folder that is searched.

    Args:
        out: the folder or file to be written.
        inputs: what is read.
        searched: sources of data, also read: of a folder everything below it.

    Raises:
        UserError: names the option. Links are followed.
    """
    searched = list(searched)
    place = Path(os.path.realpath(out))
    for option, path in [*inputs, *searched]:
        if Path(os.path.realpath(path)).is_relative_to(place):
            raise UserError(
                expected=f"{option} to lie outside of what is written, {str(out)!r}",
                got=repr(str(path)),
                fix="choose another --out, or copy that input elsewhere first",
            )
    for option, path in searched:
        if os.path.isdir(path) and place.is_relative_to(os.path.realpath(path)):
            raise UserError(
                expected=f"--out to lie outside of {option}, {str(path)!r}, whose files are data",
                got=repr(str(out)),
                fix="choose another --out: what is written there would be read as data",
            )
