"""The groups of options that every modality shares; a modality adds its own beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from common.hyperfit.optimizer import check_optimizer
from common.hyperfit.options import Auto, ScheduleOptions
from common.tools.choices import Optimizer, Precision, SaveDtype, Switch, Tracker
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
"""Largest budget. The updates of a larger one could not be counted exactly in a float."""
MOST_SAMPLES = 1000
"""Most samples of one prompt: each is compared with all others."""
MOST_RANK = 2**13
"""Largest rank: LoRA of a higher one has more weights than the matrices it adapts."""
Epochs = Annotated[float, Range(low=0, high=MOST_EPOCHS, above=True)]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(ScheduleOptions):
    """When the learning rate falls and when the run ends (losses in nats per token).

    "The paper" is P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318).
    """

    learning_rate: Positive | Auto = "auto"
    """Learning rate before the schedule changes it. auto finds it in a range test of a few dozen
    updates before training. The paper uses 1e-6 for billions of parameters."""
    max_epochs: Epochs = 200.0
    """Budget: most passes over the training set. A pretrained model needs about ten, an untrained
    one more than a hundred."""
    fixed_epochs: Epochs | None = None
    """Length of the fixed mode in passes over the training set (the paper: 20). It takes the place
    of fixed_updates."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained.

    "The paper" is P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318).
    """

    batch_size: Count = 4
    """Sequences per update (the paper: 8)."""
    micro_batch_size: Count | None = None
    """Sequences per forward pass; null is the whole batch. Fewer need less memory and give the
    same result."""
    tune: str = "last:50%"
    """Which blocks are trained: all (the paper), last:K, first:K or middle:K, or a share of them
    such as last:50%. head trains only the final norm and the output layer. A model whose last
    blocks alone are trained copies less of the training set."""
    lora_rank: Annotated[int, between(0, MOST_RANK)] = 0
    """Rank of LoRA, which needs the lora extra; 0 trains the weights themselves."""
    freeze_embeddings: bool = False
    """Do not train the embeddings and the output layer."""
    precision: Precision = "auto"
    """fp32, or bf16 autocast over fp32 weights; auto is bf16 where the device computes in it."""
    compile: Switch = "auto"
    """Use torch.compile; auto compiles where a compiler exists and the run is long."""
    checkpoint_activations: bool = False
    """Compute the blocks again in the backward pass instead of keeping their activations. An update
    needs less memory and takes about a quarter longer; the result is the same."""
    optimizer: Optimizer = "adamw"
    """adamw, or adamw8bit: AdamW whose moments take one byte each instead of four. It needs the
    low-memory extra, and a C++ compiler on a CPU. The weights stay in fp32."""
    adam_beta1: Decay = 0.9
    """Decay rate of AdamW's moving average of gradients."""
    adam_beta2: Decay = 0.999
    """Decay rate of AdamW's moving average of squared gradients."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW; the paper uses none."""
    max_gradient_norm: NotNegative = 1.0
    """Gradients of a larger norm are clipped to it; 0 is off."""
    log_every: Count = 8
    """Updates between two lines of history. Training synchronises with the device only at these
    lines."""
    checkpoint_every: Count | None = None
    """Updates between checkpoints; null spaces them to take about 1.5 % of the training time."""
    validate_every_epochs: Epochs | None = None
    """Epochs between validations, which measure held-out loss, entropy and diversity. null spaces
    them close at first and then wider, to take about 6 % of the training time."""
    keep_checkpoints: bool = False
    """Keep the checkpoints after the run has ended."""
    save_dtype: SaveDtype = "auto"
    """Number format in which the final weights are saved and measured: fp32, bf16 or fp16; auto is
    that of the source checkpoint."""
    probe: bool = True
    """Measure the entropy during training as well, on the batch of every logged update."""
    order_seed: Seed | None = None
    """Seed of the data order alone, so that the same sequences can come in another order; null is
    seed."""


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How the models are measured."""

    batch_size: Count = 16
    """Sequences per forward pass of the probe."""
    max_batch: Count | None = None
    """Most prompts per batch of generation; null is as many as memory allows."""
    validation_sequences: Count = 32
    """Most held-out sequences whose loss and entropy are measured at each validation."""
    curve_prompts: Annotated[int, at_least(0)] = 12
    """Held-out prompts that validations continue greedily, to score the result; 0 is off."""
    top_p: float = 0.9
    """Nucleus mass (top-p) of the sampling baseline, in text also of sampling at temperature 1; 1
    is off."""
    temperature: float = 0.7
    """Temperature of the sampling baseline."""
    top_k: int = 50
    """The sampling baseline draws from this many likeliest tokens; 0 is off."""
    repetition_penalty: float = 1.2
    """Penalty of the repetition-penalty baseline; 1 is none."""
    samples_per_prompt: Annotated[int, between(0, MOST_SAMPLES)] = 0
    """Continuations sampled for each of sample_prompts prompts, to measure how much they differ:
    the diversity across samples. The original and the hyperfitted model are both sampled with each
    sampling setting. 0 is off."""
    sample_prompts: Count = 32
    """Most prompts that samples_per_prompt uses, evenly spaced among all."""
    blocker_match: int = 5
    """Tokens in a row that must match the training set before the citation blocker, which forbids
    copying, acts."""
    conditions: list[str] | None = None
    """Names of the conditions (a model with a way of decoding) to measure; null is all.
    original-greedy, hyperfitted-greedy and the true continuations are always measured."""
    share_original: str | None = None
    """Folder in which runs share the measurements of the original model. A run reuses those of the
    same model, prompts, decoding, seed, precision and versions. null measures it in each run."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Options of every run, whatever the modality."""

    name: str = "default"
    """Name of the run; the default output folder is runs/DOMAIN/NAME."""
    out: str | None = None
    """Output folder; null is runs/DOMAIN/NAME."""
    seed: Seed = 0
    """Seed of the selection of data, of their order and of the sampling."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    overwrite: bool = False
    """Replace an earlier run in the output folder."""
    resume: bool = False
    """Continue an interrupted run in the output folder."""
    dry_run: bool = False
    """Read the data and print lengths, updates and a memory estimate; load no weights."""
    json: bool = False
    """Print the metrics as JSON on standard output; messages go to standard error."""
    tracker: Tracker = "none"
    """Experiment tracker that receives the history as well, through accelerate."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Learning rate and stopping rule ("the paper" is Carlsson et al., arXiv 2412.04318)."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Training ("the paper" is Carlsson et al., arXiv 2412.04318)."""
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
        UserError: an option is out of range, `name` cannot name a folder, or the package of the
            optimizer is not installed.
    """
    check_values(config)
    check_optimizer(config.train.optimizer)
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
        UserError: an option does not fit; the message names it.
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
