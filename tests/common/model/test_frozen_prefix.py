"""The frozen prefix against the whole decoder, and training through it against training without."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import common.model.frozen_prefix
from common.model.frozen_prefix import FrozenPrefix, freeze_prefix
from common.model.head import attach_head
from common.model.tune import prepare_tuning

VOCABULARY, BLOCKS = 40, 4
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def make(kind: str) -> Any:
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SMALL))
    if kind == "neox":
        return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL))
    if kind == "gemma2":
        return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, num_key_value_heads=2))
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=16,
            n_layer=BLOCKS,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def ids(count: int = 7) -> Tensor:
    return torch.randint(0, VOCABULARY, (count, 12), generator=torch.Generator().manual_seed(1))


def prefix_of(model: Any, sequences_NT: Tensor) -> FrozenPrefix | None:
    head = attach_head(model, sequences_NT[:2])
    return freeze_prefix(
        head, sequences_NT, batch_size=3, device=torch.device("cpu"), autocast=nullcontext
    )


@pytest.mark.parametrize("kind", ["llama", "neox"])
@pytest.mark.parametrize("rank", [0, 2])
def test_states_and_gradients_against_the_whole_decoder(kind: str, rank: int) -> None:
    model = prepare_tuning(make(kind), where="last:2", lora_rank=rank)
    sequences_NT = ids()
    prefix = prefix_of(model, sequences_NT)
    assert prefix is not None
    assert prefix.first_block == BLOCKS - 2
    rows = [4, 0, 6]
    head = attach_head(model, sequences_NT[:2])
    gradients = []
    for hidden_BTD in (head.hidden(sequences_NT[rows]), prefix.hidden(rows)):
        model.zero_grad()
        head.train_loss(hidden_BTD, sequences_NT[rows]).loss_sum.backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
        last_BTD = hidden_BTD
    torch.testing.assert_close(last_BTD, head.hidden(sequences_NT[rows]), rtol=1e-5, atol=1e-6)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[0])
    for whole, upper in zip(*gradients, strict=True):
        torch.testing.assert_close(upper, whole, rtol=1e-4, atol=1e-6)


def test_later_batches_stop_at_the_first_tuned_block() -> None:
    model = prepare_tuning(make("llama"), where="last:2", lora_rank=0)
    calls = []
    model.model.layers[-1].register_forward_hook(lambda *_: calls.append(1))
    head = attach_head(model, ids()[:2])
    calls.clear()
    freeze_prefix(head, ids(), batch_size=3, device=torch.device("cpu"), autocast=nullcontext)
    assert len(calls) == 2  # the first batch, and the upper decoder that is tested on it


def test_follows_the_tuned_weights() -> None:
    model = prepare_tuning(make("llama"), where="last:1", lora_rank=0)
    sequences_NT = ids()
    prefix = prefix_of(model, sequences_NT)
    assert prefix is not None
    before_BTD = prefix.hidden([0])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    whole_BTD = attach_head(model, sequences_NT[:2]).hidden(sequences_NT[:1])
    assert not torch.allclose(before_BTD, whole_BTD)
    torch.testing.assert_close(prefix.hidden([0]), whole_BTD, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("where", ["all", "first:2"])
def test_none_where_the_first_block_is_trained(where: str) -> None:
    assert prefix_of(prepare_tuning(make("llama"), where=where, lora_rank=0), ids()) is None


def test_none_where_embeddings_are_trained() -> None:
    model = prepare_tuning(make("llama"), where="last:2", lora_rank=0)
    model.get_input_embeddings().requires_grad_(True)
    assert prefix_of(model, ids()) is None


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_none_where_the_upper_blocks_alone_differ(kind: str) -> None:
    """GPT-2 adds positions to its input, Gemma-2 caps its logits and is on the plain path."""
    assert prefix_of(prepare_tuning(make(kind), where="last:2", lora_rank=0), ids()) is None


def test_none_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.model.frozen_prefix, "MEMORY_SHARE", 0.0)
    assert prefix_of(prepare_tuning(make("llama"), where="last:2", lora_rank=0), ids()) is None


FULL, SLIDING = "full_attention", "sliding_attention"


def window_model(layer_types: list[str]) -> Any:
    """A decoder with windows in some blocks, whose kinds the configuration lists by block. With
    small weights attention adds little, and a wrong mask is off by 1.7 % of the largest state."""
    torch.manual_seed(0)
    config = Qwen2Config(
        **SMALL,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=10,
        layer_types=layer_types,
        initializer_range=0.01,
    )
    return Qwen2ForCausalLM(config).eval()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("layer_types", "serves"),
    [([SLIDING] * BLOCKS, True), ([SLIDING, SLIDING, FULL, FULL], False)],
)
def test_a_wrong_mask_is_refused_in_every_precision(
    precision: torch.dtype, layer_types: list[str], serves: bool
) -> None:
    """Without its lower blocks the decoder gives the upper two the windows of the lower two. Of 11
    fed tokens only the last sees past a window of 10."""
    model = prepare_tuning(window_model(layer_types), where="last:2", lora_rank=0)
    sequences_NT = ids()
    head = attach_head(model, sequences_NT[:2])
    autocast = (
        nullcontext
        if precision == torch.float32
        else lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    )
    prefix = freeze_prefix(
        head, sequences_NT, batch_size=3, device=torch.device("cpu"), autocast=autocast
    )
    assert (prefix is not None) == serves
