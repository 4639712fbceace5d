"""Saving a model so that `from_pretrained` loads it and `generate` is plain greedy decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from common.decode_config import greedy_config
from common.files import atomic_write_text


def save_model(
    model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, *, card: str | None = None
) -> None:
    """Write weights, tokenizer, neutral generation config and, where given, the model card.

    Args:
        model: a transformers causal LM, not a peft wrapper.
        tokenizer: its tokenizer.
        folder: made where it is missing.
        card: text of README.md.
    """
    # A neutral config: an inherited repetition penalty would change what "greedy" means.
    config = greedy_config()
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if card is not None:
        atomic_write_text(folder / "README.md", card)
