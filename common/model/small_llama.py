"""A fresh small Llama: what the pretraining of either modality starts from.

Tied embeddings, because at a few million parameters a second table of the vocabulary would be a
good part of the model.
"""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from common.errors import UserError


def small_llama(
    *,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context: int,
    **more: Any,
) -> LlamaForCausalLM:
    """A Llama with random weights.

    Args:
        vocab_size: rows of the embedding.
        hidden_size, layers, heads, intermediate_size: of the decoder.
        context: positions.
        more: for the configuration: special ids, and whatever a domain keeps with the model.

    Raises:
        UserError: sizes that do not divide.
    """
    if heads < 1 or hidden_size % (2 * heads):
        raise UserError(
            expected="a hidden_size that is a multiple of 2 x heads (rotary positions need pairs)",
            got=f"hidden_size {hidden_size} and heads {heads}",
            fix="change --hidden_size or --heads",
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            **more,
        )
    )
