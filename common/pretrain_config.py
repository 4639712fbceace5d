"""Options of pretraining a small model, whatever the modality, and the check of their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.config import Precision, Switch
from common.errors import UserError
from common.options import require

LEAST_ONE = (
    "updates",
    "batch_size",
    "hidden_size",
    "layers",
    "intermediate_size",
    "log_every",
    "checkpoint_every",
    "validate_every",
)
RESUME_MAY_DIFFER = ("out", "overwrite", "resume", "dry_run", "json")


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Options of every pretraining; a modality adds its data and sets its own defaults."""

    out: str
    """Output folder."""
    seed: int = 0
    """Seed of the weights, the data and their order."""
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


def check_least(config: PretrainOptions, least: Mapping[str, int]) -> None:
    """Check the numbers that no constructor checks.

    Args:
        config: the options.
        least: option of the modality -> its lowest value.

    Raises:
        UserError: one out of range, named.
    """
    bounds = (dict(least) | dict.fromkeys(LEAST_ONE, 1)).items()
    values = ((name, getattr(config, name), bound) for name, bound in bounds)
    require((name, value, value >= bound, f"at least {bound}") for name, value, bound in values)
    if config.micro_batch_size is not None and config.micro_batch_size < 1:
        raise UserError(
            expected="micro_batch_size to be at least 1, or null",
            got=f"{config.micro_batch_size}",
            fix="change --micro_batch_size",
        )
