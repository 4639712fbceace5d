"""Logs the history of a run to an experiment tracker as well, through accelerate.

The history file stays the record. When a run goes back to a checkpoint, its later lines are removed
from the history. A tracker cannot remove what was logged, so its curves may show both attempts.
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
    """Refuse a tracker whose package is missing; accelerate would leave it out silently.

    Raises:
        UserError: the package is not installed; the message says what to install.
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
    """A journal that also logs to a tracker, which is closed after the block.

    Every number of a record is logged as KIND/NAME, e.g. "update/train_loss", at its update.

    Args:
        journal: of the run.
        tracker: which one; "none" returns the journal unchanged.
        folder: for the files of trackers that write any.
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
    PartialState()  # accelerate's trackers use its logger, which needs this state
    started.start()
    return started


def _scalar(value: object) -> bool | int | float | str:
    """A value that every tracker accepts: lists and nulls become text."""
    return value if isinstance(value, (bool, int, float, str)) else str(value)
