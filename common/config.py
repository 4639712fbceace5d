"""The groups of options that every modality shares; a modality adds its own beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from common.hyperfit.options import Auto, ScheduleOptions
from common.tools.choices import Precision, SaveDtype, Switch, Tracker
from common.tools.options import require
from common.tools.values import SEED_RANGE, seed_fits


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(ScheduleOptions):
    """When the rate falls and when the run ends (losses in nats per token)."""

    learning_rate: float | Auto = "auto"
    """Rate of the descent. auto: a range test of a few dozen updates finds it before training. The
    paper uses 1e-6 for billions of parameters."""
    max_epochs: float = 200.0
    """Budget in passes over the training set. A pretrained model needs about ten, an untrained one
    more than a hundred."""
    fixed_epochs: float | None = None
    """Length of the fixed mode in passes over the training set (the paper: 20), instead of
    fixed_updates."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the model is trained."""

    batch_size: int = 4
    """Sequences per update (the paper: 8)."""
    micro_batch_size: int | None = None
    """Sequences per forward pass; null is the whole batch. Changes memory, not the result."""
    tune: str = "last:50%"
    """Which blocks: all (the paper), last:K, first:K or middle:K, or a share of them such as
    last:50%; head is the output layer alone, with the final norm. Fewer, later ones copy less."""
    lora_rank: int = 0
    """0 tunes the weights themselves, else LoRA of this rank (needs the lora extra)."""
    freeze_embeddings: bool = False
    """Leave the embeddings and the output layer as they are."""
    precision: Precision = "auto"
    """fp32, or bf16 autocast over fp32 weights; auto is bf16 where the device computes in it."""
    compile: Switch = "auto"
    """torch.compile of the decoder; auto compiles where a compiler exists and the run is long."""
    adam_beta1: float = 0.9
    """Decay of AdamW's average of gradients."""
    adam_beta2: float = 0.999
    """Decay of AdamW's average of squared gradients."""
    weight_decay: float = 0.0
    """Of AdamW; the paper uses none."""
    max_gradient_norm: float = 1.0
    """Gradient clipping; 0 is off."""
    log_every: int = 8
    """Updates between two lines of history (and two meetings with the device)."""
    checkpoint_every: int | None = None
    """Updates between checkpoints; null spaces them so that they take about 1.5 % of training."""
    validate_every_epochs: float | None = None
    """Epochs between validations: held-out loss, entropy and diversity. Null spaces them, close at
    first and then wider, so that they take about 6 % of training."""
    keep_checkpoints: bool = False
    """Leave the checkpoints of a run that has ended where they are."""
    save_dtype: SaveDtype = "auto"
    """In which numbers the weights are saved, and measured: fp32, bf16, fp16; auto is what the
    source checkpoint has."""
    probe: bool = True
    """Whether the entropy probe runs along with training, on the batch of every logged update."""
    order_seed: int | None = None
    """Seed of the data order alone, to change it for the same sequences; null is seed."""


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How the models are measured."""

    batch_size: int = 16
    """Sequences per forward pass of the probe."""
    max_batch: int | None = None
    """Prompts per batch of generation; null is as many as memory allows."""
    validation_sequences: int = 32
    """Held-out sequences whose loss and entropy are measured at each validation, at most."""
    curve_prompts: int = 12
    """Held-out prompts whose greedy continuation is scored at each validation; 0 is off."""
    top_p: float = 0.9
    """Nucleus mass of the sampling baseline, and of text sampled at temperature 1; 1 is off."""
    temperature: float = 0.7
    """Of the sampling baseline."""
    top_k: int = 50
    """Of the sampling baseline; 0 is off."""
    repetition_penalty: float = 1.2
    """Of the repetition-penalty baseline."""
    samples_per_prompt: int = 0
    """Sampled continuations of each of sample_prompts prompts, by the original and the hyperfitted
    model with each sampling setting, for the diversity across samples; 0 is off."""
    sample_prompts: int = 32
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
    seed: int = 0
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


MOST_EPOCHS = 1e9
"""Counted in updates, more are no longer whole numbers."""
MOST_SAMPLES = 1000
"""Each is compared with all others of its prompt."""
MOST_RANK = 2**13
"""A LoRA of a higher rank is larger than the matrices it stands for."""
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
    """Check the options that would lead astray, or fail, before the data are read.

    Raises:
        UserError: a name that is no folder's, or a seed out of range.
    """
    name, order_seed = config.name, config.train.order_seed
    is_name = bool(name) and name not in (".", "..") and "/" not in name
    require(
        [
            ("name", name, is_name, "the name of one folder, without a slash"),
            ("seed", config.seed, seed_fits(config.seed), SEED_RANGE),
            ("train.order_seed", order_seed, seed_fits(order_seed), f"{SEED_RANGE}, or null"),
        ]
    )


def check_ranges(config: RunConfig, *, sequences: int) -> None:
    """Check the numbers that no constructor checks.

    Args:
        sequences: how many there are to train on.

    Raises:
        UserError: a number out of range, named with its dotted option.
    """
    check_before_reading(config)
    train, measure = config.train, config.measure
    rank, samples = train.lora_rank, measure.samples_per_prompt
    samples_fit = samples == 0 or 2 <= samples <= MOST_SAMPLES
    micro_batch, max_batch = train.micro_batch_size, measure.max_batch
    least_one: dict[str, float | None] = {
        "train.micro_batch_size": micro_batch,
        "train.log_every": train.log_every,
        "train.checkpoint_every": train.checkpoint_every,
        "measure.batch_size": measure.batch_size,
        "measure.max_batch": max_batch,
        "measure.validation_sequences": measure.validation_sequences,
        "measure.sample_prompts": measure.sample_prompts,
    }
    checks: list[tuple[str, object, bool, str]] = [
        (name, v, v is None or v >= 1, "at least 1") for name, v in least_one.items()
    ]
    of = f"from 1 to the {sequences} training sequences"
    checks += [
        ("train.batch_size", train.batch_size, 1 <= train.batch_size <= sequences, of),
        ("train.lora_rank", rank, rank <= MOST_RANK, f"at most {MOST_RANK:,}"),
        ("measure.samples_per_prompt", samples, samples_fit, f"0, or from 2 to {MOST_SAMPLES}"),
        ("measure.curve_prompts", measure.curve_prompts, measure.curve_prompts >= 0, "at least 0"),
    ]
    schedule = config.schedule
    epochs, given = schedule.fixed_epochs, (schedule.fixed_updates, schedule.fixed_epochs)
    if schedule.mode == "fixed":
        one = given.count(None) == 1
        either = "schedule.fixed_updates or schedule.fixed_epochs"
        checks.append((either, given, one, "given in fixed mode, one of the two"))
    else:
        checks.append(("schedule.fixed_epochs", epochs, epochs is None, "unset in target mode"))
    for name, value in {
        "schedule.fixed_epochs": epochs,
        "schedule.max_epochs": schedule.max_epochs,
        "train.validate_every_epochs": train.validate_every_epochs,
    }.items():
        fits = value is None or 0 < value <= MOST_EPOCHS
        checks.append((name, value, fits, f"a positive number of at most {MOST_EPOCHS:g}"))
    for name, value in {
        "train.weight_decay": train.weight_decay,
        "train.max_gradient_norm": train.max_gradient_norm,
    }.items():
        checks.append((name, value, 0 <= value < math.inf, "at least 0"))
    for name, value in {
        "train.adam_beta1": train.adam_beta1,
        "train.adam_beta2": train.adam_beta2,
    }.items():
        checks.append((name, value, 0 <= value < 1, "in [0, 1)"))
    require(checks, option="")


def output_folder(config: RunConfig, domain: str) -> Path:
    """`--out`, or runs/DOMAIN/NAME."""
    return Path(config.out) if config.out else Path("runs") / domain / config.name
