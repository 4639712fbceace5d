"""Options that are saved beside a model, where the defaults are not the best for it.

The defaults are meant for an unknown model. A checkpoint folder may hold a `recipe.yaml`, written
like any configuration file. It is read before the user's own options, so these override it. It may
come with a download, so it can only set how a model is trained: no output folder, no `overwrite`.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from common.errors import UserError
from common.tools.inputs import EMBEDDED, embedded_folder, local_path

FILE = "recipe.yaml"
GROUPS = ("data", "schedule", "train")
"""Groups of options that a recipe may hold."""


def find_recipe(package: str, model: str) -> Path | None:
    """Path of a model's recipe, or None if it has none.

    Args:
        package: the package whose assets/base is the embedded model.
        model: a value of --model.

    Raises:
        UserError: the recipe is no YAML, or holds more than `GROUPS`.
    """
    folder = embedded_folder(package) if model == EMBEDDED else local_path(model)
    path = None if folder is None else folder / FILE
    if path is None or not path.is_file():
        return None
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unfit(path, " ".join(str(error).split())[:200]) from error
    if not isinstance(options, dict) or not options.keys() <= set(GROUPS):
        held = list(options) if isinstance(options, dict) else type(options).__name__
        raise _unfit(path, repr(held)[:200])
    return path


def _unfit(path: Path, got: str) -> UserError:
    return UserError(
        expected=f"{path} to hold options of {', '.join(GROUPS)} and no others",
        got=got,
        fix="correct or delete that file",
    )
