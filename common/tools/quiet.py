"""Silence for libraries that draw progress bars of their own into a command's output."""

from __future__ import annotations

from transformers.utils import logging


def quiet_transformers() -> None:
    """Switch off transformers' progress bars ("Loading weights", "Writing model shards").

    Our own progress says what is going on, and in a log file a redrawn bar is unreadable. Warnings
    of the library stay.
    """
    logging.disable_progress_bar()
