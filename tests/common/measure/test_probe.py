"""The probe against naive per-sequence loops over `model(...).logits`."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from common.errors import UserError
from common.measure.intervals import bootstrap_mean
from common.measure.probe import ProbeResult, probe_continuations, probe_sequences
from common.model.head import attach_head

SHAPE: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.6,
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def llama(**options: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**(SHAPE | options)))


def gemma2() -> Any:
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE))


def naive(model: Any, ids_T: Tensor, start: int) -> dict[str, list[float]]:
    """One sequence, one token at a time, in float64."""
    model.eval()
    columns: dict[str, list[float]] = {
        name: [] for name in ("loss", "entropy", "top1", "top3", "top5", "rank")
    }
    with torch.no_grad():
        logits_TV = model(ids_T[None]).logits[0].double()
    for position in range(start, len(ids_T)):
        predicted = Categorical(logits=logits_TV[position - 1])
        gold = int(ids_T[position])
        ordered = predicted.probs.sort(descending=True).values
        columns["loss"].append(-float(predicted.logits[gold]))
        columns["entropy"].append(float(predicted.entropy()))
        for k in (1, 3, 5):
            columns[f"top{k}"].append(float(ordered[:k].sum()))
        columns["rank"].append(float((predicted.probs > predicted.probs[gold]).sum()))
    return columns


def check(result: ProbeResult, sequences: list[dict[str, list[float]]]) -> None:
    flat = {name: np.concatenate([s[name] for s in sequences]) for name in sequences[0]}
    expected = {
        "loss_nats": flat["loss"].mean(),
        "entropy_nats": flat["entropy"].mean(),
        "perplexity": math.exp(flat["loss"].mean()),
        "top1_mass": flat["top1"].mean(),
        "top3_mass": flat["top3"].mean(),
        "top5_mass": flat["top5"].mean(),
        "gold_rank": flat["rank"].mean(),
        "gold_rank_zero_share": (flat["rank"] == 0).mean(),
        "share_p1_over_90": (flat["top1"] > 0.9).mean(),
        "share_p1_over_99": (flat["top1"] > 0.99).mean(),
    }
    for name, value in expected.items():
        interval = getattr(result, name)
        assert interval.mean == pytest.approx(value, rel=2e-5, abs=1e-9), name
        assert interval.low <= interval.mean <= interval.high, name
    assert result.gold_rank_median == np.median(flat["rank"])
    assert result.tokens == len(flat["rank"])


@pytest.mark.parametrize("make", [llama, gemma2])
@pytest.mark.parametrize(("start", "batch_size"), [(0, 3), (1, 16), (5, 2)])
def test_sequences_against_naive(make: Any, start: int, batch_size: int) -> None:
    model, ids_NT = make(), torch.randint(0, 97, (7, 18))
    result = probe_sequences(model, ids_NT, batch_size=batch_size, start=start)
    check(result, [naive(model, ids_T, max(start, 1)) for ids_T in ids_NT])
    assert (result.notice is None) == (make is llama)
    assert result.entropy_nats.n == 7


def test_equal_lengths_bootstrap_the_sequence_means() -> None:
    model, ids_NT = llama(), torch.randint(0, 97, (6, 12))
    result = probe_sequences(model, ids_NT, batch_size=4)
    expected = bootstrap_mean([np.mean(naive(model, ids_T, 1)["entropy"]) for ids_T in ids_NT])
    assert result.entropy_nats.low == pytest.approx(expected.low, rel=1e-5)
    assert result.entropy_nats.high == pytest.approx(expected.high, rel=1e-5)
    assert expected.low != expected.high
    loss = result.loss_nats
    assert loss.low is not None and result.perplexity.low == pytest.approx(math.exp(loss.low))


def test_mask_weighs_sequences_by_their_tokens() -> None:
    model, ids_NT = llama(), torch.randint(0, 97, (4, 16))
    lengths = [16, 3, 9, 1]  # the last has no predicted token at all
    mask_NT = torch.arange(16) < torch.tensor(lengths)[:, None]
    result = probe_sequences(model, ids_NT, batch_size=4, mask_NT=mask_NT)
    kept = zip(ids_NT, lengths, strict=True)
    check(result, [naive(model, ids_T[:length], 1) for ids_T, length in kept])
    assert result.entropy_nats.n == 3


@pytest.mark.parametrize("filler", [0, 50])
def test_continuations_against_each_one_alone(filler: int) -> None:
    """Whatever fills the short ones, and ids equal to the filler count like any other."""
    model, prompt_ids_PC = llama(), torch.randint(0, 97, (5, 6))
    generator = np.random.default_rng(0)
    continuations = [generator.integers(0, 97, size) for size in (9, 1, 0, 12, 4)]
    continuations[0][:4] = filler
    result = probe_continuations(
        attach_head(model, prompt_ids_PC), prompt_ids_PC, continuations, batch_size=2
    )
    alone = [
        naive(model, torch.cat([prompt_C, torch.from_numpy(tokens)]), 6)
        for prompt_C, tokens in zip(prompt_ids_PC, continuations, strict=True)
    ]
    check(result, alone)
    assert result.tokens == 26 and result.entropy_nats.n == 4
    by_position = result.mean_by_position("entropy_nats")
    assert by_position.shape == (12,)
    for position in range(12):
        values = [s["entropy"][position] for s in alone if len(s["entropy"]) > position]
        assert by_position[position] == pytest.approx(np.mean(values), rel=1e-5)


def test_mean_by_position_is_nan_where_nothing_counts() -> None:
    ids_NT = torch.randint(0, 97, (3, 8))
    mask_NT = torch.ones_like(ids_NT).bool()
    mask_NT[:, 4] = False
    result = probe_sequences(llama(), ids_NT, batch_size=3, mask_NT=mask_NT)
    assert (
        np.isnan(result.mean_by_position("gold_rank")).tolist()
        == [False] * 3 + [True] + [False] * 3
    )


def test_dropout_is_off_and_comes_back() -> None:
    model, ids_NT = llama(attention_dropout=0.5), torch.randint(0, 97, (4, 12))
    model.train()
    head = attach_head(model, ids_NT)
    first, second = (probe_sequences(head, ids_NT, batch_size=4) for _ in range(2))
    assert torch.equal(first.stats.loss_nats, second.stats.loss_nats)
    assert all(module.training for module in model.modules())
    assert not torch.equal(head.hidden(ids_NT), head.hidden(ids_NT))  # dropout did do something


def test_training_goes_on_after_a_probe() -> None:
    model, ids_NT = llama(), torch.randint(0, 97, (4, 12))
    head = attach_head(model, ids_NT)
    result = probe_sequences(head, ids_NT, batch_size=4)
    assert not result.stats.loss_nats.is_inference()
    head.train_loss(head.hidden(ids_NT), ids_NT).loss_sum.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_json_stays_finite_when_perplexity_overflows() -> None:
    model, ids_NT = llama(), torch.randint(0, 97, (3, 8))
    with torch.no_grad():
        model.lm_head.weight.mul_(1e4)
    result = probe_sequences(model, ids_NT, batch_size=3)
    assert result.loss_nats.mean > 1000
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["perplexity"]["mean"] > 1e307
    assert document["perplexity"]["n"] == 3
    assert document["tokens"] == 21
    assert {"entropy_nats", "top1_mass", "gold_rank_median"} <= document.keys()
    assert "stats" not in document and "notice" not in document


def test_nothing_to_score_is_told() -> None:
    model, ids_NT = llama(), torch.randint(0, 97, (2, 8))
    with pytest.raises(UserError, match="longer sequences"):
        probe_sequences(model, ids_NT, batch_size=2, start=8)
    with pytest.raises(UserError, match="none of them counted"):
        probe_continuations(model, ids_NT, [np.array([], dtype=np.int64)] * 2, batch_size=2)
