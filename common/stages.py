"""Results that a resumed run need not compute again, each a JSON file written whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_write_text, writing


class Stages:
    """Finished stages of one run.

    Args:
        folder: made with the first stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(
        self,
        name: str,
        compute: Callable[[], Any],
        *,
        usable: Callable[[Any], bool] = lambda value: True,
    ) -> Any:
        """The JSON value of stage `name`: read where it is there, else computed and written.

        Args:
            name: of the stage.
            compute: makes its value.
            usable: whether a kept value still serves; an older version may have kept less.

        A value computed now takes the same way through JSON as one read later, so an interrupted
        run and an uninterrupted one go on from equal values.
        """
        path = self.folder / f"{name}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if usable(kept):
                return kept
        text = json.dumps(compute(), default=_plain)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text)
        return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
