"""A domain that is not text, of sixty lines: walks on the integers, as tokens. And its run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessor, PreTrainedModel

import common.record.run_folder
from common.config import RESUME_MAY_DIFFER, MeasureConfig, RunConfig, ScheduleConfig, TrainConfig
from common.decode.methods import greedy_config, sampling_config
from common.domain import Condition, Generations, Judgement, PromptSet
from common.experiment import run_experiment
from common.measure.intervals import bootstrap_mean
from common.model.origin import ModelOrigin
from common.record.run_folder import RunFolder
from common.report.presentation import Presentation
from common.tools.choices import Split
from common.tools.files import atomic_write_text
from common.tools.options import to_yaml
from common.tools.progress import Progress

VOCABULARY, LENGTH, CONTEXT, NEW = 32, 24, 4, 8
SCHEMA = Path(common.record.run_folder.__file__).parent / "schema" / "metrics.schema.json"


def walks(count: int, seed: int) -> Tensor:
    """(N, T) walks that go on by 1, 2 or 3, modulo the vocabulary; they start apart."""
    generator = torch.Generator().manual_seed(seed)
    steps_NT = torch.randint(1, 4, (count, LENGTH), generator=generator)
    steps_NT[:, 0] = torch.arange(count)
    return steps_NT.cumsum(dim=1) % VOCABULARY


class Walks:
    """A domain whose tokens are the numbers below 32."""

    name = "walks"
    word_start_V = None
    ttr_window, ttr_name = 96, "ttr_96"
    main_metrics: tuple[str, ...] = ("ttr_96", "rep_4", "overlap_tokens")
    first_target = 1

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model: PreTrainedModel = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=48,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=64,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.rows = {"train": walks(12, 1), "heldout": walks(8, 2)}

    def sequences(self, split: Split) -> Tensor:
        return self.rows[split]

    def prompts(self) -> list[PromptSet]:
        def make(name: str, ids_NT: Tensor, pooled: bool) -> PromptSet:
            references = [row.numpy() for row in ids_NT[:, CONTEXT : CONTEXT + NEW]]
            return PromptSet(
                name=name,
                ids_PC=ids_NT[:, :CONTEXT],
                references=references,
                new_tokens=NEW,
                pooled=pooled,
            )

        return [make("near", walks(6, 2), True), make("far", walks(5, 3), True)]

    def conditions(self) -> list[Condition]:
        greedy, sampled = greedy_config(), sampling_config()
        return [
            Condition(name="original-greedy", stage="original", method=greedy),
            Condition(name="early-stopped-greedy", stage="early-stopped", method=greedy),
            Condition(name="hyperfitted-greedy", stage="hyperfitted", method=greedy),
            Condition(
                name="hyperfitted-greedy-blocked", stage="hyperfitted", method=greedy, blocked=True
            ),
            Condition(name="hyperfitted-top-p", stage="hyperfitted", method=sampled),
            Condition(name="human", stage="reference", method=None),
        ]

    def processors(self) -> list[LogitsProcessor]:
        return []

    def present(self, shown: object, by_position: object, folder: object) -> Presentation:
        return Presentation()

    def judge(self, generated: Generations) -> Judgement:
        legal = [
            np.isin(np.diff(t) % VOCABULARY, (1, 2, 3)).mean() for t in generated.continuations
        ]
        return Judgement(metrics={"legal_steps": bootstrap_mean(np.asarray(legal))})

    def pieces(self, ids: np.ndarray) -> list[str]:
        return [f"{number} " for number in ids]

    def save(self, model: PreTrainedModel, folder: Path, card: str) -> None:
        model.save_pretrained(folder)
        atomic_write_text(folder / "README.md", card)


CONFIG = RunConfig(
    device="cpu",
    schedule=ScheduleConfig(learning_rate=1e-2, max_epochs=150, target_loss=0.06),
    train=TrainConfig(
        batch_size=6,
        tune="all",
        precision="fp32",
        compile="off",
        validate_every_epochs=10,
        keep_checkpoints=True,
    ),
    measure=MeasureConfig(curve_prompts=3),
)


def run(out: Path, config: RunConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    config = replace(config, **changes)
    folder = RunFolder.create(
        out,
        config_yaml=to_yaml(config),
        overwrite=config.overwrite,
        resume=config.resume,
        may_differ=RESUME_MAY_DIFFER,
    )
    torch.manual_seed(config.seed)
    return run_experiment(
        Walks(),
        config,
        folder,
        Progress(quiet=True),
        command=["walks"],
        origin=ModelOrigin(name="walker", origin="a walk by nobody", licence="CC0-1.0"),
    )


def validate(metrics: dict[str, Any]) -> None:
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text()))
