"""Options of `python -m text.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass

from common.pretrain_config import PretrainOptions


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
    length: int = 256
    """Tokens per sequence."""
    heldout_books: int = 12
    """Titles kept out of training to measure the held-out loss."""
    heldout_sequences: int = 128
    """Sequences of theirs that are measured."""
    vocab_size: int = 8192
    """Of a new tokenizer."""
