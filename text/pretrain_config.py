"""Options of `python -m text.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from common.pretrain_config import PretrainOptions
from common.tools.ranges import Count, between

MOST_TOKENS = 2**20
"""Largest vocabulary and longest sequence, since memory for either is allocated at once."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(PretrainOptions):
    """Options of `python -m text.pretrain`."""

    data: str | None = None
    """Books to train on: a .jsonl or .jsonl.xz file with the fields author, title and text."""
    authors: list[str] | None = None
    """Keep only books whose author field begins with one of these; null keeps all."""
    init: str | None = None
    """Checkpoint to start from, with its tokenizer; null starts from random weights."""
    out: str = "runs/text/base"
    """Output folder."""
    length: Annotated[int, between(2, MOST_TOKENS)] = 256
    """Tokens per sequence."""
    heldout_books: Count = 12
    """Titles that are not trained on, but measure the held-out loss."""
    heldout_sequences: Count = 128
    """Sequences of the held-out titles that are measured."""
    vocab_size: Annotated[int, between(1, MOST_TOKENS)] = 8192
    """Vocabulary size of a new tokenizer."""
