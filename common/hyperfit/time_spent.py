"""What the time of a training run was spent on. It is reported and never used for a decision."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PARTS = (
    "preparation",
    "rate_test",
    "first_update",
    "updates",
    "full_passes",
    "validation",
    "curve",
    "checkpoints",
)
"""preparation: the states of a frozen prefix; first_update: the first one of each process, with its
compilation. The rest of the time is "other"."""
_WORDS = {
    "first_update": "first update and compilation",
    "full_passes": "full passes",
    "rate_test": "learning-rate test",
}


class TimeSpent:
    """Seconds by part.

    Attributes:
        seconds: part -> seconds so far, earlier processes of a resumed run included.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Add the time of the block to `part`, also if the block fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - started)

    def add(self, part: str, seconds: float) -> None:
        """Add seconds that were measured elsewhere."""
        self.seconds[part] += seconds

    def parts(self, total: float) -> dict[str, float]:
        """Seconds by part, rounded, with the rest of `total` as "other"."""
        parts = self.seconds | {"other": max(total - sum(self.seconds.values()), 0.0)}
        return {part: round(seconds, 3) for part, seconds in parts.items()}


def time_line(parts: Mapping[str, float]) -> str:
    """ "Training time: 87 % updates, 6 % curve, 4 % validation, ...", the largest part first.

    Args:
        parts: from `TimeSpent.parts`; parts below half a percent are left out.
    """
    total = sum(parts.values())
    shares = {part: seconds / total for part, seconds in parts.items()} if total else {}
    words = [
        f"{100 * share:.0f} % {_WORDS.get(part, part)}"
        for part, share in sorted(shares.items(), key=lambda item: -item[1])
        if share >= 0.005
    ]
    return f"Training time: {', '.join(words) or 'none'}."
