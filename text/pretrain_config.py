"""Options of `python -m text.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from common.pretrain_config import PretrainOptions
from common.tools.ranges import Count, between

MOST_TOKENS = 2**20
"""In a vocabulary or a sequence: room for either is made at once."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(PretrainOptions):
    """Options of `python -m text.pretrain`."""

    data: str | None = None
    """A .jsonl or .jsonl.xz file with the fields author, title and text."""
    authors: list[str] | None = None
    """Keep only books by these authors (beginnings of the author field); null keeps all."""
    init: str | None = None
    """Checkpoint to continue from, with its tokenizer; null starts afresh."""
    out: str = "runs/text/base"
    """Output folder."""
    length: Annotated[int, between(2, MOST_TOKENS)] = 256
    """Tokens per sequence."""
    heldout_books: Count = 12
    """Titles kept out of training to measure the held-out loss."""
    heldout_sequences: Count = 128
    """Sequences of theirs that are measured."""
    vocab_size: Annotated[int, between(1, MOST_TOKENS)] = 8192
    """Of a new tokenizer."""
