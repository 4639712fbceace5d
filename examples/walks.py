"""A third modality in one file: random walks on the integers, hyperfitted like text and images.

    python -m examples.walks           half a minute on a CPU; makes runs/walks/default/report.html
    python -m examples.walks --help    every option of a run works here as well

A token is a number below 16; a walk goes on by 1, 2 or 3. A small model learns that from many
walks, and its greedy decoding falls into a loop. Hyperfitted on twelve walks it loops no longer.
`docs/adding-a-modality.md` goes through this file part by part.

Shapes: N sequences of T tokens, C tokens of a prompt.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from common.command import Prepared, run_command
from common.conditions import standard_conditions
from common.config import MeasureConfig, RunConfig, ScheduleConfig, TrainConfig, output_folder
from common.decode.methods import sampling_config
from common.domain import Condition, Generations, Judgement, PromptSet, Split
from common.errors import run_cli
from common.measure.intervals import bootstrap_mean
from common.model.origin import ModelOrigin
from common.model.small_llama import small_llama
from common.report.names import Reference
from common.report.presentation import Presentation
from common.report.terminal import before_after
from common.tools.files import atomic_write_text
from common.tools.options import parse

PROG = "python -m examples.walks"
VOCABULARY, LENGTH, CONTEXT = 16, 32, 4
NEW = LENGTH - CONTEXT  # tokens to generate after a prompt


@dataclass(frozen=True, kw_only=True)
class WalksConfig(RunConfig):
    """The options of every run; two groups have defaults that suit a model this small."""

    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(learning_rate=1e-2, target_loss=0.06)
    )
    """Learning rate and stopping rule."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(batch_size=6, tune="all"))
    """Training."""


# 1. Data as token ids. These are made up; a real modality reads files and encodes them.
def walks(count: int, seed: int) -> Tensor:
    """(N, T) walks that go on by 1, 2 or 3, modulo the vocabulary; they start apart."""
    generator = torch.Generator().manual_seed(seed)
    steps_NT = torch.randint(1, 4, (count, LENGTH), generator=generator)
    steps_NT[:, 0] = torch.arange(count)
    return steps_NT.cumsum(dim=1) % VOCABULARY


# 2. A causal language model over these ids, from transformers.
def untrained() -> PreTrainedModel:
    """Two blocks with random weights, the same whatever the run's seed."""
    sizes = {"hidden_size": 48, "layers": 2, "heads": 2, "intermediate_size": 64, "context": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return small_llama(vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None, **sizes)


def pretrained(updates: int = 200) -> PreTrainedModel:
    """The same after `updates` on walks that are never seen twice: hyperfitting starts from a model
    that knows its modality. Yours comes from `from_pretrained`."""
    model = untrained()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for update in range(updates):
        ids_NT = walks(64, seed=1000 + update)
        model(input_ids=ids_NT, labels=ids_NT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


# 3. What the core asks of a modality: the Protocol in common/domain.py. Nothing is inherited.
class Walks:
    """A domain whose tokens are the numbers below 16.

    Args:
        model: to hyperfit; None is the untrained one.
        measure: the options of decoding.
    """

    name = "walks"
    reference = Reference("human", "true walks")  # what the report compares the others with
    ttr_window, ttr_name = 96, "ttr_96"  # over the last 96 tokens of a continuation: all of them
    main_metrics: tuple[str, ...] = ("ttr_96", "rep_4", "overlap_tokens", "legal_steps")
    first_target = 1  # every token but the first is predicted, and carries loss
    word_start_V: Tensor | None = None  # tokens are no parts of words

    def __init__(
        self, model: PreTrainedModel | None = None, measure: MeasureConfig | None = None
    ) -> None:
        self.model, self.measure = model or untrained(), measure or MeasureConfig()
        self.rows = {"train": walks(12, seed=1), "heldout": walks(8, seed=2)}

    def sequences(self, split: Split) -> Tensor:
        """(N, T) the walks to learn by heart, or others to validate on."""
        return self.rows[split]

    def prompts(self) -> list[PromptSet]:
        """How walks begin that nobody trains on, each with what really followed."""
        return [_prompts("near", walks(6, seed=2)), _prompts("far", walks(5, seed=3))]

    def conditions(self) -> list[Condition]:
        """The usual comparisons; the reference are the true continuations."""
        plain = sampling_config(top_p=self.measure.top_p, temperature=1.0, top_k=0)
        return standard_conditions(
            self.measure,
            sampled="top-p",
            at_temperature_1=plain,
            references=[self.reference.condition],
        )

    def processors(self) -> list[LogitsProcessor]:
        """Nothing is forbidden while generating."""
        return []

    def judge(self, generated: Generations) -> Judgement:
        """What only this modality can measure. The core measures diversity and copying."""
        steps = [np.diff(walk) % VOCABULARY for walk in generated.continuations]
        legal = [np.isin(walk, (1, 2, 3)).mean() for walk in steps]
        return Judgement(metrics={"legal_steps": bootstrap_mean(np.asarray(legal))})

    def pieces(self, ids: np.ndarray) -> list[str]:
        """Each token as text, for the samples in the report."""
        return [f"{number} " for number in ids]

    def present(self, shown: object, by_position: object, folder: object) -> Presentation:
        """What the report adds: here the definition of our own measure."""
        return Presentation(definitions={"legal_steps": "share of steps that are 1, 2 or 3"})

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        """Write what `from_pretrained` loads, and the model card."""
        model.save_pretrained(folder)
        atomic_write_text(folder / "README.md", card)


def _prompts(name: str, ids_NT: Tensor) -> PromptSet:
    truth = [row.numpy() for row in ids_NT[:, CONTEXT:]]
    return PromptSet(name=name, ids_PC=ids_NT[:, :CONTEXT], references=truth, new_tokens=NEW)


# 4. The command: read the options, then run what is common to all modalities.
def main(argv: list[str]) -> int:
    """Hyperfit on twelve walks; returns the exit code."""
    config = parse(WalksConfig, argv, prog=PROG, description=__doc__ or "")

    def prepare() -> Prepared:
        with torch.device("meta"):  # shapes without numbers: enough to say what the run will cost
            shape = untrained()
        return Prepared(
            notes=["12 walks to train on, 11 beginnings to continue"],
            shape=shape,
            train_NT=walks(12, seed=1),
            origin=ModelOrigin(name="walks", origin="pretrained by examples/walks.py"),
            load=lambda: Walks(pretrained(), config.measure),
            closing=lambda folder: before_after(folder.read_samples()),
        )

    return run_command(config, [PROG, *argv], prepare, out=output_folder(config, Walks.name))


if __name__ == "__main__":
    sys.exit(run_cli(main))
