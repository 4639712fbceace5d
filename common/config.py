"""The groups of options that every modality shares; a modality adds its own beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from common.hyperfit.options import Auto, ScheduleOptions
from common.tools.choices import Precision, SaveDtype, Switch, Tracker
from common.tools.options import require
from common.tools.ranges import (
    Count,
    Decay,
    NotNegative,
    Positive,
    Range,
    Seed,
    at_least,
    between,
)
from common.tools.values import check_values

MOST_EPOCHS = 10**9
"""Counted in updates, more are no longer whole numbers."""
MOST_SAMPLES = 1000
"""Each is compared with all others of its prompt."""
MOST_RANK = 2**13
"""A LoRA of a higher rank is larger than the matrices it stands for."""
Epochs = Annotated[float, Range(low=0, high=MOST_EPOCHS, above=True)]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(ScheduleOptions):
    """When the rate falls and when the run ends (losses in nats per token)."""

    learning_rate: Positive | Auto = "auto"
    """Rate of the descent. auto: a range test of a few dozen updates finds it before training. The
    paper uses 1e-6 for billions of parameters."""
    max_epochs: Epochs = 200.0
    """Budget in passes over the training set. A pretrained model needs about ten, an untrained one
    more than a hundred."""
    fixed_epochs: Epochs | None = None
    """Length of the fixed mode in passes over the training set (the paper: 20), instead of
    fixed_updates."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    batch_size: Count = 4
    """Sequences per update (the paper: 8)."""
    micro_batch_size: Count | None = None
    """Sequences per forward pass; null is the whole batch. Changes memory, not the result."""
    tune: str = "last:50%"
    """Which blocks: all (the paper), last:K, first:K or middle:K, or a share of them such as
    last:50%; head is the output layer alone, with the final norm. Fewer, later ones copy less."""
    lora_rank: Annotated[int, between(0, MOST_RANK)] = 0
    """0 tunes the weights themselves, else LoRA of this rank (needs the lora extra)."""
    freeze_embeddings: bool = False
    """Leave the embeddings and the output layer as they are."""
    precision: Precision = "auto"
    """fp32, or bf16 autocast over fp32 weights; auto is bf16 where the device computes in it."""
    compile: Switch = "auto"
    """torch.compile of the decoder; auto compiles where a compiler exists and the run is long."""
    adam_beta1: Decay = 0.9
    """Decay of AdamW's average of gradients."""
    adam_beta2: Decay = 0.999
    """Decay of AdamW's average of squared gradients."""
    weight_decay: NotNegative = 0.0
    """Of AdamW; the paper uses none."""
    max_gradient_norm: NotNegative = 1.0
    """Gradient clipping; 0 is off."""
    log_every: Count = 8
    """Updates between two lines of history. Only there does training synchronise with the
    device."""
    checkpoint_every: Count | None = None
    """Updates between checkpoints; null spaces them so that they take about 1.5 % of training."""
    validate_every_epochs: Epochs | None = None
    """Epochs between validations: held-out loss, entropy and diversity. Null spaces them, close at
    first and then wider, so that they take about 6 % of training."""
    keep_checkpoints: bool = False
    """Leave the checkpoints of a run that has ended where they are."""
    save_dtype: SaveDtype = "auto"
    """In which numbers the weights are saved, and measured: fp32, bf16, fp16; auto is what the
    source checkpoint has."""
    probe: bool = True
    """Whether the entropy probe runs along with training, on the batch of every logged update."""
    order_seed: Seed | None = None
    """Seed of the data order alone, to change it for the same sequences; null is seed."""


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How the models are measured."""

    batch_size: Count = 16
    """Sequences per forward pass of the probe."""
    max_batch: Count | None = None
    """Prompts per batch of generation; null is as many as memory allows."""
    validation_sequences: Count = 32
    """Held-out sequences whose loss and entropy are measured at each validation, at most."""
    curve_prompts: Annotated[int, at_least(0)] = 12
    """Held-out prompts whose greedy continuation is scored at each validation; 0 is off."""
    top_p: float = 0.9
    """Nucleus mass of the sampling baseline, and of text sampled at temperature 1; 1 is off."""
    temperature: float = 0.7
    """Of the sampling baseline."""
    top_k: int = 50
    """Of the sampling baseline; 0 is off."""
    repetition_penalty: float = 1.2
    """Of the repetition-penalty baseline."""
    samples_per_prompt: Annotated[int, between(0, MOST_SAMPLES)] = 0
    """Sampled continuations of each of sample_prompts prompts, by the original and the hyperfitted
    model with each sampling setting, for the diversity across samples; 0 is off."""
    sample_prompts: Count = 32
    """Prompts of that measure, taken evenly from all, at most."""
    blocker_match: int = 5
    """Tokens that must match the training set before the citation blocker acts."""
    conditions: list[str] | None = None
    """Which ways of decoding are measured; null is all. original-greedy, hyperfitted-greedy and
    what really followed are there in any case."""
    share_original: str | None = None
    """Folder in which runs share what they measured on the original model, where model, prompts,
    decoding, seed, precision and versions are equal; null measures it in each run."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Options of every run, whatever the modality."""

    name: str = "default"
    """Name of the run; the default output folder is runs/DOMAIN/NAME."""
    out: str | None = None
    """Output folder; null is runs/DOMAIN/NAME."""
    seed: Seed = 0
    """Seed of the selection, the data order and the sampling."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Go on with an interrupted run in the output folder."""
    dry_run: bool = False
    """Load the data, print lengths, steps and a memory estimate, touch no weights."""
    json: bool = False
    """Print the metrics as JSON on standard output; all else goes to standard error."""
    tracker: Tracker = "none"
    """Also log the history to this tracker, through accelerate."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Learning rate and stopping rule."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Training."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """Measurement."""


RESUME_MAY_DIFFER = (
    "out",
    "overwrite",
    "resume",
    "dry_run",
    "json",
    "tracker",
    "train.keep_checkpoints",
    "schedule.max_epochs",
    "measure.share_original",
)


def check_before_reading(config: RunConfig) -> None:
    """Check the options for which no data need to be read.

    Raises:
        UserError: one out of range, or a name that is no folder's.
    """
    check_values(config)
    name = config.name
    is_name = bool(name) and name not in (".", "..") and "/" not in name
    samples = config.measure.samples_per_prompt
    expected = f"0, or from 2 to {MOST_SAMPLES}"
    require(
        [
            ("name", name, is_name, "the name of one folder, without a slash"),
            ("measure.samples_per_prompt", samples, samples != 1, expected),
        ]
    )


def check_ranges(config: RunConfig, *, sequences: int) -> None:
    """Check all options of a run, with the rules between them.

    Args:
        config: the options.
        sequences: how many there are to train on.

    Raises:
        UserError: names the option.
    """
    check_before_reading(config)
    batch, schedule = config.train.batch_size, config.schedule
    of = f"from 1 to the {sequences} training sequences"
    checks: list[tuple[str, object, bool, str]] = [
        ("train.batch_size", batch, batch <= sequences, of)
    ]
    epochs, given = schedule.fixed_epochs, (schedule.fixed_updates, schedule.fixed_epochs)
    if schedule.mode == "fixed":
        either = "schedule.fixed_updates or schedule.fixed_epochs"
        one = given.count(None) == 1
        checks.append((either, given, one, "given in fixed mode, one of the two"))
    else:
        checks.append(("schedule.fixed_epochs", epochs, epochs is None, "unset in target mode"))
    require(checks, option="")


def output_folder(config: RunConfig, domain: str) -> Path:
    """`--out`, or runs/DOMAIN/NAME."""
    return Path(config.out) if config.out else Path("runs") / domain / config.name
