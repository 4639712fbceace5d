"""Where most continuations are copied from the training set, their variety is the training set's.

A type-token ratio of such continuations does not show what the model can write. The verdict then
does not use it, and the sentence states the share of copies. All views share this rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.evidence.over_seeds import Value
from benchmarks.evidence.words import share

COPIED = "overlap_over_10"
"""Share of the continuations with more than 10 tokens in a row from the training set."""
MOST = 0.5


def mostly_copied(copied: Value) -> bool:
    """Whether more than half of the continuations are copied, by the mean over seeds."""
    return copied.mean > MOST


def by_ttr(relation: bool | None, *copied: Value) -> bool | None:
    """What type-token ratios say, or None where most continuations of one of them are copied.

    Args:
        relation: of the ratios, by `over_seeds.is_above`.
        copied: share that is copied of every hyperfitted model's continuations among them.
    """
    return None if any(map(mostly_copied, copied)) else relation


def copied_clause(copied: Mapping[str, Value]) -> str:
    """For the end of a sentence; "" where no condition's continuations are mostly copied.

    Args:
        copied: the share that is copied, by a word for the continuations: "with 16 sequences".
    """
    most = {name: value for name, value in copied.items() if mostly_copied(value)}
    if not most:
        return ""
    shares = ", ".join(f"{share(value)} {name}".rstrip() for name, value in most.items())
    return (
        f"; where most continuations are copies ({shares} hold more than 10 tokens in a row from "
        "the training set), the type-token ratio decides nothing"
    )
