"""Options of pretraining a small model, whatever the modality, and the check of their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from common.config import Precision, Switch
from common.errors import UserError
from common.tools.options import require
from common.tools.values import SEED_RANGE, seed_fits

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
# A shape beyond these takes hours to build before the estimate of its memory can be told.
MOST = {"hidden_size": 2**16, "layers": 1000, "heads": 2**10, "intermediate_size": 2**18}
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
    adam, decay = config.adam_beta2, config.weight_decay
    rate, warmup = config.learning_rate, config.warmup_updates
    require(
        [
            ("seed", config.seed, seed_fits(config.seed), SEED_RANGE),
            ("adam_beta2", adam, 0 <= adam < 1, "in [0, 1)"),
            ("weight_decay", decay, 0 <= decay < math.inf, "at least 0"),
            ("learning_rate", rate, 0 < rate < math.inf, "a positive number"),
            ("warmup_updates", warmup, warmup >= 0, "at least 0"),
            *(
                (name, getattr(config, name), getattr(config, name) <= most, f"at most {most:,}")
                for name, most in MOST.items()
            ),
        ]
    )
    bounds = (dict(least) | dict.fromkeys(LEAST_ONE, 1)).items()
    values = ((name, getattr(config, name), bound) for name, bound in bounds)
    require((name, value, value >= bound, f"at least {bound}") for name, value, bound in values)
    if config.micro_batch_size is not None and config.micro_batch_size < 1:
        raise UserError(
            expected="micro_batch_size to be at least 1, or null",
            got=f"{config.micro_batch_size}",
            fix="change --micro_batch_size",
        )
