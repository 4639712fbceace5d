"""Options of pretraining a small model, whatever the modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from common.tools.choices import Precision, Switch
from common.tools.ranges import Count, Decay, NotNegative, Positive, Seed, at_least, between

# Building a larger model takes hours, before the estimate of its memory can be printed.
HiddenSize = Annotated[int, between(1, 2**16)]
Heads = Annotated[int, between(1, 2**10)]
IntermediateSize = Annotated[int, between(1, 2**18)]
RESUME_MAY_DIFFER = ("out", "overwrite", "resume", "dry_run", "json")


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Options of every pretraining; a modality adds its data and sets its own defaults."""

    out: str
    """Output folder."""
    seed: Seed = 0
    """Seed of the weights, the data and their order."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Continue an interrupted run in the output folder."""
    dry_run: bool = False
    """Read the data and print lengths, updates and a memory estimate; load no weights."""
    json: bool = False
    """Print the result as JSON on standard output."""
    updates: Count = 4000
    """Length of the run in updates."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    warmup_updates: Annotated[int, at_least(0)] = 100
    """Updates of linear warm-up at the start; the learning rate then falls linearly to zero."""
    batch_size: Count = 32
    """Sequences per update."""
    micro_batch_size: Count | None = None
    """Sequences per forward pass; null is the whole batch."""
    hidden_size: HiddenSize = 256
    """Hidden size of a new model."""
    layers: Annotated[int, between(1, 1000)] = 8
    """Decoder blocks of a new model."""
    heads: Heads = 4
    """Attention heads of a new model."""
    intermediate_size: IntermediateSize = 704
    """Width of the MLPs of a new model."""
    adam_beta2: Decay = 0.95
    """Decay rate of AdamW's moving average of squared gradients."""
    weight_decay: NotNegative = 0.1
    """Weight decay of AdamW."""
    precision: Precision = "auto"
    """fp32, or bf16 autocast over fp32 weights; auto is bf16 where the device computes in it."""
    compile: Switch = "auto"
    """Use torch.compile; auto compiles where a compiler exists and the run is long."""
    log_every: Count = 20
    """Updates between two lines of history."""
    checkpoint_every: Count = 100
    """Updates between checkpoints."""
    validate_every: Count = 100
    """Updates between measurements of the held-out loss."""
