"""Scores of every next token against one forward pass per prefix."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, GPT2Config, LogitsProcessor
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from benchmarks.analyses import next_scores as module
from benchmarks.analyses.next_scores import KeptScores, next_scores

VOCAB, FIRST = 23, 3


class ForbidLast(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.scatter(1, input_ids[:, -1:], -torch.inf)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=9)
    return AutoModelForCausalLM.from_config(config).train()


def test_against_one_pass_per_prefix(model, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.randint(VOCAB, (5, 10), generator=torch.Generator().manual_seed(1))
    # Room for two sequences at a time; the tenth token is not fed, for there is no position for it.
    monkeypatch.setattr(module, "SCORE_BYTES", 2 * 4 * VOCAB * 9)
    got = list(next_scores(model, ids, first=FIRST, processors=[ForbidLast()]))
    assert [rows for rows, _ in got] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert model.training
    scores = torch.cat([batch for _, batch in got])
    assert scores.shape == (5, 7, VOCAB) and scores.dtype == torch.float32
    model.eval()
    for row in range(5):
        for column in range(7):
            seen = ids[row, : FIRST + column]
            with torch.no_grad():
                want = model(input_ids=seen[None]).logits[0, -1]
            want[seen[-1]] = -torch.inf
            torch.testing.assert_close(scores[row, column], want, atol=1e-5, rtol=1e-5)


def test_kept_scores_are_the_same_again_and_again(model) -> None:
    torch.manual_seed(0)
    capped = Gemma2Config(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=16,
        final_logit_softcapping=0.5,
    )
    ids = torch.randint(VOCAB, (5, 10), generator=torch.Generator().manual_seed(1))
    for one in (model, AutoModelForCausalLM.from_config(capped)):
        options = {"first": FIRST, "processors": [ForbidLast()]}
        kept = KeptScores(one, ids, **options)
        want = torch.cat([batch for _, batch in next_scores(one, ids, **options)])
        for _ in range(2):
            got = []
            for _, batch in kept:
                got.append(batch.clone())
                batch.zero_()  # what a caller may do
            torch.testing.assert_close(torch.cat(got), want, atol=1e-5, rtol=1e-5)
