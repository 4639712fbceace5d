"""Continuations with their repeated and copied spans marked, as in Figure 1 of P1.

P1 is Carlsson et al., "The Hyperfitting Phenomenon", ICLR 2025 (arXiv 2412.04318). The marks are
computed from ids, whatever the tokens mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

COPIED_MIN_RUN = 8
"""A span counts as copied if at least this many consecutive tokens are in the training set."""

_SATURATION = 8
LEVELS = ("2nd time", "3rd or 4th", "5th to 7th", "8th or later")
"""Meaning of shades 1 to 4: the token belongs to this occurrence of its 4-gram."""
_LEVEL_ABOVE = (0.0, 0.4, 0.65, 0.9)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Neighbouring tokens with the same marks.

    Attributes:
        text: the decoded tokens.
        level: shade of repetition, 0 (none) to 4.
        copied: whether the tokens are part of a run copied from the training set.
    """

    text: str
    level: int
    copied: bool


def repetition_scores(ids: Sequence[int], *, n: int = 4) -> list[float]:
    """For each token, how often the n-grams that cover it occurred before.

    With c the largest number of earlier occurrences, within `ids`, of any n-gram covering the
    token, the score is log(1 + c) / log(1 + 8), at most 1: 0 for a token that belongs to no
    repeated n-gram, about 0.32 at the second occurrence, 1 from the ninth on.

    Args:
        ids: T token ids.
        n: length of the n-grams; texts shorter than it score 0.

    Returns:
        T floats in [0, 1].
    """
    earlier: Counter[tuple[int, ...]] = Counter()
    most = [0] * len(ids)
    for start in range(len(ids) - n + 1):
        gram = tuple(int(token) for token in ids[start : start + n])
        for position in range(start, start + n):
            most[position] = max(most[position], earlier[gram])
        earlier[gram] += 1
    return [min(1.0, math.log1p(count) / math.log1p(_SATURATION)) for count in most]


def spans(sample: Mapping[str, Any]) -> list[Span]:
    """The pieces of a line of `samples.jsonl`; neighbours with the same marks are joined."""
    marked = [
        (sum(score > bound for bound in _LEVEL_ABOVE), bool(copied), piece)
        for piece, score, copied in zip(
            sample["pieces"], sample["repetition"], sample["copied"], strict=True
        )
    ]
    return [
        Span(text="".join(piece for _, _, piece in group), level=level, copied=copied)
        for (level, copied), group in groupby(marked, key=lambda token: token[:2])
    ]
