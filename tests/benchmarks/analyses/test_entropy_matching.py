"""Entropy at a temperature against `torch.distributions`, the match against scipy's root finder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch.distributions import Categorical

from benchmarks.analyses.entropy_matching import entropy_at, match_entropy
from common.errors import UserError

VOCAB, FIRST = 17, 2


class Bigram:
    """Scores that depend on the last token alone, a row of a table; three sequences at a time.

    Args:
        spread: of the scores.
        allowed: how many tokens may follow; the others are -inf.
    """

    def __init__(self, spread: float, allowed: int = VOCAB) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = spread * torch.randn(VOCAB, VOCAB, generator=generator)
        self.table[:, allowed:] = -torch.inf

    def __iter__(self) -> Iterator[tuple[slice, torch.Tensor]]:
        for rows in (slice(0, 3), slice(3, 4)):
            yield rows, self.table[IDS[rows, FIRST - 1 : -1]].clone()


IDS = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(1))


def reference(model: Bigram, temperature: float, allowed: int = VOCAB) -> np.ndarray:
    logits = model.table[IDS[:, FIRST - 1 : -1], :allowed].double() / temperature
    return Categorical(logits=logits).entropy().mean(dim=1).numpy()


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0])
def test_entropy_against_categorical(temperature: float) -> None:
    model = Bigram(2.0)
    got = entropy_at(model, temperature=temperature)
    np.testing.assert_allclose(got.nats_N, reference(model, temperature), atol=1e-5)
    assert got.mean_nats == pytest.approx(got.nats_N.mean())
    step = 1e-3
    low, high = (reference(model, temperature * math.exp(x)).mean() for x in (-step, step))
    assert got.slope_nats == pytest.approx((high - low) / (2 * step), abs=1e-4)


def test_forbidden_tokens_have_no_entropy() -> None:
    model = Bigram(2.0, allowed=10)
    got = entropy_at(model, temperature=1.5)
    np.testing.assert_allclose(got.nats_N, reference(model, 1.5, allowed=10), atol=1e-5)


@pytest.mark.parametrize(("spread", "target"), [(2.0, 0.3), (2.0, 2.7), (40.0, 1.2), (0.2, 1.0)])
def test_matched_temperature_against_a_root_finder(spread: float, target: float) -> None:
    model: Any = Bigram(spread)
    got = match_entropy(model, target_nats=target, tolerance_nats=1e-5)
    assert got.mean_nats == pytest.approx(target, abs=1e-5)
    want: Any = brentq(lambda t: reference(model, t).mean() - target, 0.02, 50.0)
    assert got.temperature == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("target", [1e-9, math.log(VOCAB)])
def test_an_entropy_that_no_temperature_gives_is_refused(target: float) -> None:
    # A spread at which neither end of the range is quite certain or quite uniform.
    model: Any = Bigram(0.05 if target < 1 else 5.0)
    with pytest.raises(UserError, match="an entropy that a temperature"):
        match_entropy(model, target_nats=target, tolerance_nats=1e-7)
