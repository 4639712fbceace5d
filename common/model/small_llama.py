"""A small Llama with random weights, from which pretraining starts in both modalities.

The embeddings are tied, because a second table of the vocabulary would be a large part of a model
of a few million parameters.
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
        more: further entries of the configuration: special ids, and the domain's own.

    Raises:
        UserError: `hidden_size` is not a multiple of twice the number of heads.
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
