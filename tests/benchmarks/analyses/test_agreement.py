"""Agreement of decisions by hand and against an argmax per prefix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.analyses.agreement import (
    equal_share,
    largest_difference,
    tokens_until_difference,
    top1_tokens,
)
from benchmarks.analyses.next_scores import next_scores


def test_shares_and_first_differences_by_hand() -> None:
    one = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [9, 2, 3, 4], [5, 5, 5, 5]])
    other = np.array([[1, 2, 3, 4], [1, 2, 9, 4], [1, 2, 3, 4], [6, 6, 6, 6]])
    np.testing.assert_array_equal(equal_share(one, other), [1.0, 0.75, 0.75, 0.0])
    np.testing.assert_array_equal(tokens_until_difference(one, other), [4, 2, 0, 0])


def test_top1_against_one_argmax_per_prefix() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=19,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    model = LlamaForCausalLM(config).eval()
    ids = torch.randint(19, (3, 8))
    got = top1_tokens(next_scores(model, ids, first=2))
    assert got.shape == (3, 6) and got.dtype == np.int64
    with torch.no_grad():
        want = [
            [int(model(input_ids=row[None, :end]).logits[0, -1].argmax()) for end in range(2, 8)]
            for row in ids
        ]
    np.testing.assert_array_equal(got, want)
    assert len(np.unique(got)) > 3


def test_the_largest_difference_is_of_any_weight() -> None:
    one, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    other.load_state_dict(one.state_dict())
    assert largest_difference(one, other) == 0
    with torch.no_grad():
        one.weight[0, 0] += 0.25
        other.bias[1] += 0.5
    assert largest_difference(one, other) == pytest.approx(0.5)
