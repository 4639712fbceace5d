"""A rough estimate of training memory, made before any weights are loaded."""

from __future__ import annotations

from typing import Any

GIB = 2**30
BYTES_PER_WEIGHT = 4  # float32
BYTES_PER_TRAINED_WEIGHT = 12  # its gradient and AdamW's two moments
# Floats that a decoder block keeps per token for the backward pass, as a multiple of the hidden
# size: measured between 25 and 40 on Llama-style blocks with an MLP of 2.75 hidden sizes.
KEPT_PER_BLOCK = 34


def training_gib(model: Any, micro_batch: int, length: int) -> float:
    """GiB to train the parameters of `model` that require gradients.

    Args:
        model: a transformers causal LM, peft-wrapped or not; it may live on the meta device.
        micro_batch: sequences per forward pass.
        length: tokens per sequence.
    """
    config = model.config.get_text_config(decoder=True)
    state = sum(
        p.numel() * (BYTES_PER_WEIGHT + p.requires_grad * BYTES_PER_TRAINED_WEIGHT)
        for p in model.parameters()
    )
    kept = KEPT_PER_BLOCK * config.hidden_size * config.num_hidden_layers
    return (state + micro_batch * length * kept * 4) / GIB
