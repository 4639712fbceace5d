"""Refuse a command whose output would replace its inputs, or become an input.

`--model runs/x/model --out runs/x --overwrite` would delete the model before it is loaded. Results
written into the folder of the training images would be training images at the next run. Both are
refused before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from common.errors import UserError

EMBEDDED = "embedded"
"""Name of the model or tokenizer inside a package."""
Named = tuple[str, Path]
"""An option and a path that is its value."""


def embedded_folder(package: str) -> Path:
    """The checkpoint folder of the model inside a package."""
    return Path(str(files(package) / "assets" / "base"))


def local_path(value: str) -> Path | None:
    """The local file or folder that a value names, or None; it may be a hub id."""
    path = Path(os.path.expanduser(value))
    return path if value and os.path.exists(path) else None


def named_paths(option: str, *values: str | None) -> list[Named]:
    """The option paired with each of the values that is a local path."""
    paths = (local_path(value) for value in values if value is not None)
    return [(option, path) for path in paths if path is not None]


def looks_local(value: str) -> bool:
    """Whether a name can only be a local path: a hub id begins with a word and has at most one
    slash, and GGUF files are always local."""
    shaped = value.startswith((".", "/", "~")) or value.count("/") > 1
    return shaped or value.lower().endswith(".gguf")


def check_there(option: str, value: str | None, *, expected: str) -> None:
    """Refuse a path that does not exist, before any slow import.

    Args:
        option: the option whose value it is.
        value: a path, a hub id, or None; a possible hub id is not checked here.
        expected: the values that the option accepts.

    Raises:
        UserError: names the path.
    """
    if value is not None and looks_local(value) and not os.path.exists(os.path.expanduser(value)):
        raise UserError(
            expected=expected,
            got=f"{value!r}, which does not exist",
            fix=f"correct the path of {option}",
        )


def keep_apart(out: Path, inputs: Iterable[Named], *, searched: Iterable[Named] = ()) -> None:
    """Refuse an input at or below the output, and an output in a folder of data.

    Links are followed.

    Args:
        out: the folder or file to be written.
        inputs: paths that are read.
        searched: sources of data; in a folder every file below it is read.

    Raises:
        UserError: names the option.
    """
    searched = list(searched)
    place = Path(os.path.realpath(out))
    for option, path in [*inputs, *searched]:
        if Path(os.path.realpath(path)).is_relative_to(place):
            raise UserError(
                expected=f"{option} to lie outside of the output, {str(out)!r}",
                got=repr(str(path)),
                fix="choose another --out, or copy that input elsewhere first",
            )
    for option, path in searched:
        if os.path.isdir(path) and place.is_relative_to(os.path.realpath(path)):
            raise UserError(
                expected=f"--out to lie outside of {option}, {str(path)!r}, whose files are data",
                got=repr(str(out)),
                fix="choose another --out: results there would be read as data",
            )
