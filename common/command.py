"""What every `run` command does once its options have been read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from torch import Tensor

from common.config import RESUME_MAY_DIFFER, RunConfig
from common.domain import Domain
from common.experiment import may_go_on, require_success, run_experiment
from common.preflight import check_finite, preflight
from common.record.provenance import ModelOrigin
from common.record.resuming import check_same_configuration
from common.record.run_folder import RunFolder
from common.report.terminal import conditions_table
from common.tools.options import to_yaml
from common.tools.progress import Progress
from common.tools.quiet import quiet_transformers


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run whose data and options have been read and checked; no weight has been touched.

    Attributes:
        notes: lines that describe the data.
        shape: the model on the meta device.
        train_NT: (N, T) training ids.
        first_target: the first position that training and validation predict.
        origin: where the model comes from.
        load: loads the weights and makes the domain.
        closing: what to print after the table of conditions, from the finished folder.
    """

    notes: Sequence[str]
    shape: Any
    train_NT: Tensor
    first_target: int = 1
    origin: ModelOrigin
    load: Callable[[], Domain]
    closing: Callable[[RunFolder], str]


def run_command(
    config: RunConfig, command: list[str], prepare: Callable[[], Prepared], *, out: Path
) -> int:
    """Run a domain from the command line; returns the exit code.

    Args:
        config: the options shared by all modalities, past `check_before_reading`.
        command: program and arguments, for the provenance.
        prepare: reads the data.
        out: the output folder.

    Raises:
        UserError: an option is out of range, data or model cannot be used, memory or disk does not
            suffice, or the run missed its target.
    """
    quiet_transformers()
    with Progress() as progress:
        ended = _ended(config, RunFolder(out)) if config.resume else None
        if ended is not None:
            progress.note(f"this run has ended, nothing is repeated: {RunFolder(out).report}")
            return _close(ended, config)
        ready = prepare()
        source_dtype = ready.shape.config.dtype
        cost = preflight(
            config, ready.shape, ready.train_NT, first_target=ready.first_target, out=out
        )
        for line in [*ready.notes, *cost]:
            progress.note(line)
        if config.dry_run:
            return 0

        # Load before the folder is made: a broken checkpoint must not delete an earlier run.
        set_seed(config.seed)
        domain = ready.load()
        check_finite(domain.model)
        folder = RunFolder.create(
            out,
            config_yaml=to_yaml(config),
            overwrite=config.overwrite,
            resume=config.resume,
            may_differ=RESUME_MAY_DIFFER,
            tell=progress.note,
        )
        metrics = run_experiment(
            domain,
            config,
            folder,
            progress,
            command=command,
            origin=ready.origin,
            source_dtype=source_dtype,
        )
    print(f"\n{conditions_table(metrics, domain.main_metrics)}\n", file=sys.stderr)
    print(ready.closing(folder), file=sys.stderr)
    return _close(metrics, config)


def _ended(config: RunConfig, folder: RunFolder) -> dict[str, Any] | None:
    """The metrics of the run to resume if it has nothing left to do, else None.

    Raises:
        UserError: the run had another configuration.
    """
    metrics = folder.ended()
    if metrics is None or may_go_on(metrics["training"], config):
        return None
    saved = folder.config.read_text(encoding="utf-8")
    check_same_configuration(saved, to_yaml(config), RESUME_MAY_DIFFER)
    return metrics


def _close(metrics: dict[str, Any], config: RunConfig) -> int:
    """Print the metrics if `--json` is set; returns the exit code.

    Raises:
        UserError: the run missed its target.
    """
    if config.json:
        print(json.dumps(metrics))
    require_success(metrics, config)
    return 0
