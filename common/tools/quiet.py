"""Switch off the progress bars that libraries print into a command's output."""

from __future__ import annotations

from transformers.utils import logging


def quiet_transformers() -> None:
    """Switch off transformers' progress bars ("Loading weights", "Writing model shards").

    Our own progress reports the same, and a redrawn bar is unreadable in a log file. The library's
    warnings stay on.
    """
    logging.disable_progress_bar()
