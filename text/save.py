"""Save a model so that `from_pretrained` loads it and `generate` decodes greedily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from common.model.causal_lm import save_greedy


def save_model(
    model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, *, card: str | None = None
) -> None:
    """Write weights, tokenizer, a greedy generation config and, where given, the model card.

    Args:
        model: a transformers causal LM, not a peft wrapper.
        tokenizer: its tokenizer.
        folder: created if it does not exist.
        card: text of README.md.
    """
    special_ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    save_greedy(model, folder, card=card, **special_ids)
    tokenizer.save_pretrained(folder)
