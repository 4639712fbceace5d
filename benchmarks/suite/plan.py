"""Planned cells with the runs behind them, and how a job array divides them.

Cells that share a run, directly or through others, form a group, and a shard takes whole groups:
two machines never write into one run's folder. Which group goes where depends on the plan alone,
not on what is done already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.suite.experiment import Experiment, PlannedCell
from benchmarks.suite.training_runs import PlannedRun, plan_run
from common.errors import UserError

CIFAR = "cifar"
_TORCHVISION_FOLDER = "cifar-10-batches-py"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell and what it takes.

    Attributes:
        planned: the cell.
        run: what it is made of.
        other: the run that is compared with, or None.
        missing: why it cannot be made here, or None.
    """

    planned: PlannedCell
    run: PlannedRun
    other: PlannedRun | None = None
    missing: str | None = None

    @property
    def name(self) -> str:
        """ "quantity/text-8-updates-seed0"."""
        return f"{self.planned.experiment}/{self.planned.cell}"

    @property
    def runs(self) -> list[PlannedRun]:
        """What must be finished first."""
        return [self.run] if self.other is None else [self.run, self.other]

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the cell's figures follow from: the run's options, and what is made of it."""
        planned, made = self.planned, {}
        if planned.repeat:
            made["suite.repeat"] = planned.repeat
        if planned.analysis is None:
            made["suite.keep"] = list(planned.keep)
        else:
            made["suite.analysis"] = planned.analysis
            made |= {f"suite.analysis.{k}": v for k, v in planned.analysis_options.items()}
        if planned.against is not None:
            made["suite.against"] = dict(planned.against)
        return self.run.options | made


def plan_jobs(
    experiments: Iterable[Experiment], profile: str, *, cifar: Path | None = None
) -> list[Job]:
    """Every cell of the experiments, in order.

    Args:
        experiments: which.
        profile: name of the profile.
        cifar: where CIFAR-10 lies: torchvision's `cifar-10-batches-py`, or images in `train`.

    Raises:
        UserError: an option that a run does not know, no such profile, or no CIFAR-10 in `cifar`.
    """
    supplied = {} if cifar is None else {CIFAR: _cifar_options(cifar)}
    jobs = []
    for experiment in experiments:
        cells = experiment.cells(profile)
        runs = {cell.cell: _plan(cell, supplied) for cell in cells}
        for cell in cells:
            other = None if cell.compared_with is None else runs[cell.compared_with]
            missing = None
            if cell.needs is not None and cell.needs not in supplied:
                missing = (
                    f"expected --{cell.needs} FOLDER, the data this cell needs; got none; download "
                    "it and pass the option"
                )
            jobs.append(Job(planned=cell, run=runs[cell.cell], other=other, missing=missing))
    return jobs


def take_shard(jobs: Sequence[Job], shard: str) -> list[Job]:
    """The jobs of shard i of n, "i/n" with i from 1.

    Groups go, the one with the most runs first, to the shard that has the fewest so far.

    Raises:
        UserError: not of that form, or i is not within 1..n.
    """
    match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", shard)
    index, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= count:
        raise UserError(
            expected="--shard I/N with I from 1 to N, such as 1/4",
            got=repr(shard),
            fix="correct --shard",
        )
    loads = [0] * count
    mine: set[str] = set()
    for group in sorted(_groups(jobs), key=len, reverse=True):
        least = loads.index(min(loads))
        loads[least] += len(group)
        if least == index - 1:
            mine |= group
    return [job for job in jobs if job.run.name in mine]


def _groups(jobs: Sequence[Job]) -> list[set[str]]:
    """Names of runs that some cell needs together, in order of first appearance."""
    groups: list[set[str]] = []
    for job in jobs:
        names = {run.name for run in job.runs}
        touched = [group for group in groups if group & names]
        if not touched:
            groups.append(names)
            continue
        first, *others = touched
        first |= names.union(*others)
        groups = [group for group in groups if not any(group is other for other in others)]
    return groups


def _plan(cell: PlannedCell, supplied: Mapping[str, tuple[dict[str, Any], dict[str, str]]]) -> Any:
    more, stands_for = supplied.get(cell.needs or "", ({}, {}))
    try:
        return plan_run(cell.domain, cell.options | more, repeat=cell.repeat, stands_for=stands_for)
    except UserError as error:
        raise UserError(
            expected=f"options of a run in {cell.experiment}/{cell.cell}",
            got=error.got,
            fix=f"correct {cell.experiment}.yaml of benchmarks/experiments",
        ) from error


def _cifar_options(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Options of a run on CIFAR-10, and what they stand for."""
    if os.path.isdir(folder / _TORCHVISION_FOLDER):
        return {"data.root": str(folder)}, {}
    if os.path.isdir(folder / "train"):
        return {"data.train": str(folder / "train")}, {"data.train": "cifar10"}
    raise UserError(
        expected=f"--cifar to be a folder with {_TORCHVISION_FOLDER}, or with images in train",
        got=f"{str(folder)!r} with neither",
        fix="correct the path",
    )
