"""Ranks against a stable sort and against the probe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.analyses.next_scores import next_scores
from benchmarks.analyses.rank_shift import ranks, ranks_of, shift_shares
from common.measure.probe import probe_sequences

VOCAB = 31


def test_ranks_against_a_stable_sort() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(4, (3, 5, 12), generator=generator).float()  # full of ties
    scores[..., 7] = -torch.inf
    ids = torch.randint(12, (3, 5), generator=generator)
    order = np.argsort(-scores.numpy(), axis=-1, kind="stable")
    want = (order == ids.numpy()[..., None]).argmax(-1)
    np.testing.assert_array_equal(ranks(scores, ids), want)
    np.testing.assert_array_equal(ranks(scores, scores.argmax(-1)), np.zeros((3, 5)))


def test_ranks_of_the_truth_are_those_of_the_probe() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(VOCAB, (6, 11))
    got = ranks_of(ids[:, 4:].numpy(), next_scores(model, ids, first=4))
    want = probe_sequences(model, ids, batch_size=2, start=4).stats.gold_rank
    np.testing.assert_array_equal(got, want)
    assert got.max() > 10


def test_summary_by_hand() -> None:
    summary = shift_shares(np.array([[0, 1, 9, 10], [0, 0, 0, 40]]))
    assert summary["shifted_share"].mean == pytest.approx(4 / 8)
    assert summary["far_share"].mean == pytest.approx(2 / 8)  # the eleventh choice and later
    assert summary["rank_mean"].mean == pytest.approx(60 / 8)
    assert summary["rank_median"].mean == 0.5 and summary["rank_median"].low is None
    assert {value.n for value in summary.values()} == {2}
    shifted = summary["shifted_share"]
    assert (shifted.low, shifted.high) == (0.25, 0.75)  # both sequences are one or the other
