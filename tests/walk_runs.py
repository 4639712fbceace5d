"""Runs of the domain in `examples/walks.py`, small enough for a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import torch

import common.record.run_folder
from common.config import RESUME_MAY_DIFFER, MeasureConfig, RunConfig, ScheduleConfig, TrainConfig
from common.domain import Condition
from common.experiment import run_experiment
from common.model.origin import ModelOrigin
from common.record.run_folder import RunFolder
from common.tools.options import to_yaml
from common.tools.progress import Progress
from examples import walks

SCHEMA = Path(common.record.run_folder.__file__).parent / "schema" / "metrics.schema.json"
CONDITIONS = (
    "original-greedy",
    "early-stopped-greedy",
    "hyperfitted-greedy",
    "hyperfitted-greedy-blocked",
    "hyperfitted-top-p",
    "human",
)
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


class Walks(walks.Walks):
    """The example's domain with fewer conditions, which saves half of the time."""

    def conditions(self) -> list[Condition]:
        return [one for one in super().conditions() if one.name in CONDITIONS]


def run(out: Path, config: RunConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    """A run of the untrained model; `changes` are those of the configuration."""
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
    """Hold metrics against their schema."""
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text()))
