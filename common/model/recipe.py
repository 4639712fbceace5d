"""Options that a model brings along, because it is served better by them than by the defaults.

The defaults are meant for a model that nobody has seen. A checkpoint folder may hold a
`recipe.yaml`, written like any configuration file; it is read before the user's own options, which
therefore win. It may come with a download, so it sets how a model is trained and nothing else: no
output folder, no `overwrite`.
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
    """The recipe of a model, where it has one.

    Args:
        package: whose assets/base is the embedded model.
        model: as --model takes it.

    Raises:
        UserError: it is no YAML, or holds more than `GROUPS`.
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
        fix="mend or delete that file",
    )
