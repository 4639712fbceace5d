"""The static offset against ranks and means taken one position at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from transformers import LogitsProcessor

from benchmarks.analyses.static_injection import StaticInjection, static_offset, tokens_to_inject

VOCAB, FIRST = 24, 2
IDS = torch.randint(VOCAB, (4, 9), generator=torch.Generator().manual_seed(1))


class FirstTwenty(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.masked_fill(torch.arange(VOCAB) >= 20, -torch.inf)


def walk(table: torch.Tensor, processors: Any = ()) -> Iterator[tuple[slice, torch.Tensor]]:
    """Scores that depend on the last token alone, a row of a table; three sequences at a time."""
    for rows in (slice(0, 3), slice(3, 4)):
        scores = table[IDS[rows, FIRST - 1 : -1]].clone()
        for process in processors:
            scores = process(IDS[rows], scores)
        yield rows, scores


@pytest.fixture
def tables() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(VOCAB, VOCAB, generator=generator)
    after = before + torch.randn(VOCAB, generator=generator)
    return before, after + 0.3 * torch.randn(VOCAB, VOCAB, generator=generator)


@pytest.mark.parametrize("allowed", [VOCAB, 20])
def test_against_one_position_at_a_time(tables: Any, allowed: int) -> None:
    gains, changes = [], []
    for token in IDS[:, FIRST - 1 : -1].flatten():
        before, after = (table[token, :allowed].double().numpy() for table in tables)
        gains.append(rankdata(-before) - rankdata(-after))
        changes.append((after - after.mean()) - (before - before.mean()))
    gain, change = np.mean(gains, axis=0), np.mean(changes, axis=0)
    want = np.argsort(-gain)[: VOCAB // 4]
    processors = [FirstTwenty()] if allowed < VOCAB else []
    got = static_offset(*(walk(table, processors) for table in tables))
    assert set(got.tokens_K.tolist()) == set(want)
    np.testing.assert_allclose(got.gain_K, gain[got.tokens_K])
    np.testing.assert_allclose(got.offsets_K, change[got.tokens_K], atol=1e-5)


def test_a_shift_of_all_logits_is_no_change(tables: Any) -> None:
    before, after = tables
    one = static_offset(walk(before), walk(after))
    other = static_offset(walk(before), walk(after + 7.0))
    torch.testing.assert_close(one.offsets_K, other.offsets_K, atol=1e-5, rtol=0)


def test_injection_adds_to_the_chosen_tokens_only(tables: Any) -> None:
    offset = static_offset(*map(walk, tables))
    scores = torch.randn(3, VOCAB)
    added = StaticInjection(offset, 0.25)(IDS[:3], scores.clone()) - scores
    want = torch.zeros(VOCAB)
    for token, value in zip(offset.tokens_K, offset.offsets_K, strict=True):
        want[token] = 0.25 * value
    torch.testing.assert_close(added, want.expand(3, -1), atol=1e-6, rtol=0)
    assert want.count_nonzero() == VOCAB // 4


def test_how_many_tokens() -> None:
    assert [tokens_to_inject(size) for size in (3, 400, 2000, 50_000)] == [1, 100, 500, 500]
