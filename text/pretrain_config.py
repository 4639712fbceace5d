"""Options of `python -m text.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass

from common.config import Precision, Switch
from common.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Options of `python -m text.pretrain`."""

    data: str | None = None
    """A .jsonl or .jsonl.xz file with the fields author, title and text."""
    authors: list[str] | None = None
    """Keep only books by these authors (beginnings of the author field); null keeps all."""
    init: str | None = None
    """Checkpoint to continue from, with its tokenizer; null starts afresh."""
    out: str = "runs/text/base"
    """Output folder."""
    seed: int = 0
    """Seed of the weights, the held-out books and the data order."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Go on with an interrupted run."""
    dry_run: bool = False
    """Read the data, print lengths, steps and a memory estimate, touch no weights."""
    json: bool = False
    """Print the result as JSON on standard output."""
    updates: int = 4000
    """Length of the run."""
    learning_rate: float = 1e-3
    """Peak rate."""
    warmup_updates: int = 100
    """Linear rise at the start; the rate then falls linearly to zero."""
    batch_size: int = 32
    """Sequences per update."""
    micro_batch_size: int | None = None
    """Sequences per forward pass; null is the whole batch."""
    length: int = 256
    """Tokens per sequence."""
    heldout_books: int = 12
    """Titles kept out of training to measure the held-out loss."""
    heldout_sequences: int = 128
    """Sequences of theirs that are measured."""
    vocab_size: int = 8192
    """Of a new tokenizer."""
    hidden_size: int = 256
    """Of a new model."""
    layers: int = 8
    """Of a new model."""
    heads: int = 4
    """Of a new model."""
    intermediate_size: int = 704
    """Of a new model."""
    adam_beta2: float = 0.95
    """AdamW."""
    weight_decay: float = 0.1
    """AdamW."""
    precision: Precision = "auto"
    """fp32, or bf16 autocast over fp32 weights; auto is bf16 where the device computes in it."""
    compile: Switch = "auto"
    """torch.compile of the decoder."""
    log_every: int = 20
    """Updates between two lines of history."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    validate_every: int = 100
    """Updates between held-out measurements."""


def check_ranges(config: PretrainConfig) -> None:
    """Check the numbers that no constructor checks.

    Raises:
        UserError: one out of range, named.
    """
    least = {"length": 2} | dict.fromkeys(
        (
            "updates",
            "batch_size",
            "heldout_books",
            "heldout_sequences",
            "hidden_size",
            "layers",
            "intermediate_size",
            "log_every",
            "checkpoint_every",
            "validate_every",
        ),
        1,
    )
    for name, bound in least.items():
        if getattr(config, name) < bound:
            raise UserError(
                expected=f"{name} to be at least {bound}",
                got=f"{getattr(config, name)}",
                fix=f"change --{name}",
            )
    if config.micro_batch_size is not None and config.micro_batch_size < 1:
        raise UserError(
            expected="micro_batch_size to be at least 1, or null",
            got=f"{config.micro_batch_size}",
            fix="change --micro_batch_size",
        )
