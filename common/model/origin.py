"""Where a run's original model comes from, for the model card, the report and the provenance."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

_ABSOLUTE = re.compile(r"(?<![\w.~/:-])/[^\s,:=\"'\[\]]+")


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """Where a run's original model comes from.

    Attributes:
        name: as the user gave it: a path, a hub id, or a name that the suite knows.
        origin: who made the weights, where that is known.
        licence: SPDX identifier, where it is known.
        package: the installed package that holds the file, with its version.
        sha256: of the file, for a model that is one file.
    """

    name: str
    origin: str | None = None
    licence: str | None = None
    package: str | None = None
    sha256: str | None = None

    def to_json(self) -> dict[str, str]:
        """The known entries; a name that is a path is shortened."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return known | {"name": shorten_paths(os.path.expanduser(self.name), Path.cwd())}


def shorten_paths(argument: str, cwd: Path) -> str:
    """Make absolute paths below `cwd` relative to it, and shorten others to ".../name"."""

    def shorten(found: re.Match[str]) -> str:
        path = Path(os.path.normpath(found.group()))
        if path.is_relative_to(cwd):
            return path.relative_to(cwd).as_posix()
        return f".../{path.name}"

    return _ABSOLUTE.sub(shorten, argument)
