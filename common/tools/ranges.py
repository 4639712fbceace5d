"""The numbers that an option can have, written beside the option.

    log_every: Annotated[int, at_least(1)] = 8

`--help` shows the range (`common.tools.options`), and `check_values` in `common.tools.values`
refuses what lies outside. Rules that hold between options stay functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

LARGEST_SEED = 2**32 - 1
"""What numpy takes."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Range:
    """All numbers between two ends. It prints as words that follow "to be".

    Attributes:
        low, high: the ends; infinite where there is none.
        above, below: whether `low` and `high` themselves are left out.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under

    def __repr__(self) -> str:
        low, high = f"{self.low:,}", f"{self.high:,}"
        if self.high == math.inf:
            if not self.above:
                return f"at least {low}"
            return "a positive number" if self.low == 0 else f"above {low}"
        if self.low == -math.inf:
            return f"below {high}" if self.below else f"at most {high}"
        if not self.above and not self.below:
            return f"from {low} to {high}"
        if self.low == 0 and self.above and not self.below and self.high > 1:
            return f"a positive number of at most {high}"
        return f"in {'(' if self.above else '['}{low}, {high}{')' if self.below else ']'}"


def at_least(low: float) -> Range:
    """`low` and more."""
    return Range(low=low)


def above(low: float) -> Range:
    """More than `low`."""
    return Range(low=low, above=True)


def between(low: float, high: float) -> Range:
    """`low`, `high` and all between."""
    return Range(low=low, high=high)


Count = Annotated[int, at_least(1)]
Positive = Annotated[float, above(0)]
NotNegative = Annotated[float, at_least(0)]
Decay = Annotated[float, Range(low=0, high=1, below=True)]
"""Of a moving average."""
Share = Annotated[float, Range(low=0, high=1, above=True)]
Seed = Annotated[int, between(0, LARGEST_SEED)]
"""What every generator of random numbers takes."""
