"""The history of a run in an experiment tracker as well, through accelerate.

The history file stays the record: a tracker cannot take back what was logged on a trajectory that
was given up, so its curves may show both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate.state import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from common.errors import UserError
from common.record.journal import Journal
from common.tools.choices import Tracker

_INSTALL = {
    "tensorboard": 'pip install "hyperfitting[track]"',
    "wandb": "pip install wandb",
    "trackio": "pip install trackio",
}


def check_tracker(tracker: Tracker) -> None:
    """Refuse a tracker whose package is missing; accelerate would leave it out without a word.

    Raises:
        UserError: names what to install.
    """
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        raise UserError(
            expected=f"the package {tracker} for --tracker {tracker}",
            got="it is not installed",
            fix=_INSTALL[tracker],
        )


@contextmanager
def tracked(
    journal: Journal, tracker: Tracker, *, folder: Path, project: str, options: dict[str, Any]
) -> Iterator[Journal]:
    """A journal that also logs to a tracker, which ends with the block.

    Every number of a record is logged as KIND/NAME, e.g. "update/train_loss", at its update.

    Args:
        journal: of the run.
        tracker: which one; with "none" the journal stays alone.
        folder: where a tracker that writes files puts them.
        project: name of the project in the tracker.
        options: dotted name -> value, shown as the run's configuration.

    Raises:
        UserError: the tracker's package is not installed.
    """
    if tracker == "none":
        yield journal
        return
    started = _start(tracker, folder, project)
    started.store_init_configuration({name: _scalar(value) for name, value in options.items()})

    def both(record: dict[str, Any]) -> None:
        journal.write(record)
        numbers = {
            f"{record['kind']}/{name}": value
            for name, value in record.items()
            if name != "update" and isinstance(value, (int, float))
        }
        if numbers:
            started.log(numbers, step=record["update"])

    try:
        yield replace(journal, write=both)
    finally:
        started.finish()


def _start(tracker: Tracker, folder: Path, project: str) -> GeneralTracker:
    check_tracker(tracker)
    tracker_class = LOGGER_TYPE_TO_CLASS[tracker]
    where = (folder,) if tracker_class.requires_logging_directory else ()
    started = tracker_class(project, *where)
    PartialState()  # accelerate's trackers log, and its logger refuses to without
    started.start()
    return started


def _scalar(value: object) -> bool | int | float | str:
    """What every tracker shows: lists and nulls become text."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
