"""Results that a resumed run need not compute again, each a JSON file written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.tools.files import atomic_write_text, writing


class Stages:
    """Finished stages of one run.

    Args:
        folder: made with the first stage.
        claim: is told of files before they are made, as `Manifest.claim`.
    """

    def __init__(self, folder: Path, claim: Callable[..., None] | None = None) -> None:
        self.folder, self._claim = folder, claim

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
        if os.path.isfile(path):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if usable(kept):
                return kept
        text = json.dumps(compute(), default=_plain)
        if self._claim is not None:
            self._claim(path)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text)
        return json.loads(text)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
