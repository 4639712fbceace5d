"""How often a condition was preferred to what it was compared with, or found equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from benchmarks.preference.votes import Vote
from common.measure.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class Share:
    """The votes of one condition on one prompt set.

    Attributes:
        domain: "text" or "image".
        condition: whose share this is.
        against: what it was compared with.
        prompt_set: name of the set, or "all" with the length where there are several.
        items: different items among the votes.
        preferred: votes for the condition.
        equal: votes for neither.
        preferred_or_equal: share of both among the n votes, with its Wilson interval.
    """

    domain: str
    condition: str
    against: str
    prompt_set: str
    items: int
    preferred: int
    equal: int
    preferred_or_equal: Interval

    def to_json(self) -> dict[str, Any]:
        """As the results file has it."""
        return vars(self) | {"preferred_or_equal": self.preferred_or_equal.to_json()}


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """A share with its score interval (Wilson 1927): right down to shares of 0 and 1.

    Centre (p + z^2 / 2n) / (1 + z^2 / n), reach z sqrt(p(1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n).

    Args:
        successes: between 0 and n.
        n: independent trials, at least 1.
        level: coverage.
    """
    assert 0 <= successes <= n and n > 0, (successes, n)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At the ends rounding could cross them.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(share, low, high, n)


def shares(votes: Sequence[Vote]) -> list[Share]:
    """Every condition on every prompt set, after a row for all sets of one length together.

    Lengths are kept apart, because a longer continuation has more room to fail (P1, Carlsson
    et al., ICLR 2025, arXiv 2412.04318, reports 128 and 256 tokens apart).
    """
    rows: list[Share] = []
    contests = {(v.item.domain, v.item.subject, v.item.against) for v in votes}
    for domain, subject, against in sorted(contests):
        group = [
            v
            for v in votes
            if (v.item.domain, v.item.subject, v.item.against) == (domain, subject, against)
        ]
        lengths = sorted({v.item.new_tokens for v in votes if v.item.domain == domain})
        for length in lengths:
            of_length = [v for v in group if v.item.new_tokens == length]
            sets = sorted({v.item.prompt_set for v in of_length})
            named = {name: [v for v in of_length if v.item.prompt_set == name] for name in sets}
            if len(sets) > 1:
                pooled = "all" if len(lengths) == 1 else f"all of {length} tokens"
                named = {pooled: of_length} | named
            rows += [
                _share(part, domain, subject, against, prompt_set)
                for prompt_set, part in named.items()
            ]
    return rows


def _share(
    votes: Sequence[Vote], domain: str, condition: str, against: str, prompt_set: str
) -> Share:
    preferred = sum(vote.preferred == 1 for vote in votes)
    equal = sum(vote.preferred == 0.5 for vote in votes)
    return Share(
        domain=domain,
        condition=condition,
        against=against,
        prompt_set=prompt_set,
        items=len({vote.name for vote in votes}),
        preferred=preferred,
        equal=equal,
        preferred_or_equal=wilson(preferred + equal, len(votes)),
    )
