"""Options that a model brings along, because it is served better by them than by the defaults.

The defaults are meant for a model that nobody has seen. A checkpoint folder may hold a
`recipe.yaml`, written like any configuration file; it is read before the user's own options, which
therefore win.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from common.inputs import EMBEDDED, local_path

FILE = "recipe.yaml"


def find_recipe(package: str, model: str) -> Path | None:
    """The recipe of a model, where it has one.

    Args:
        package: whose assets/base is the embedded model.
        model: as --model takes it.
    """
    if model == EMBEDDED:
        folder = Path(str(files(package) / "assets" / "base"))
    else:
        folder = local_path(model)
    path = None if folder is None else folder / FILE
    return path if path is not None and path.is_file() else None
