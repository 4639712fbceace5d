"""What a call of the suite would do, and how long it would take."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.suite.cells import Cell
from benchmarks.suite.plan import Job
from benchmarks.suite.training_runs import PlannedRun, Runs


def preview(jobs: Sequence[Job], found: Mapping[str, Cell], runs: Runs) -> list[str]:
    """One line per cell, a summary, and an estimate of the time from recorded times."""
    lines = []
    for job in jobs:
        state = "done" if job.name in found else "to do" if job.missing is None else "cannot"
        needs = ", ".join(f"{run.name} {_state(run, runs)}" for run in job.runs)
        made = f" {job.planned.analysis} of" if job.planned.analysis else ""
        lines.append(f"{state:6} {job.name}:{made} {needs}")
    to_do = [job for job in jobs if job.name not in found and job.missing is None]
    missing = {r.name: (r, job) for job in to_do for r in job.runs if not runs.finished(r)}
    every = {run.name for job in jobs for run in job.runs}
    lines.append(
        f"{len(jobs)} cells of {len(every)} runs; {len(found)} cells are done, {len(to_do)} to do, "
        f"which takes {len(missing)} runs"
    )
    lines.append(_estimate(to_do, [job for _, job in missing.values()], list(found.values())))
    return lines


def _estimate(to_do: Iterable[Job], missing: Iterable[Job], done: Sequence[Cell]) -> str:
    """Medians of what the same kind of work took, of the same experiment where there is one.

    Args:
        to_do: cells to make.
        missing: one of them for each run to make.
        done: whose seconds are known.
    """

    def usual(experiment: str | None, domain: str, analysis: str | None) -> float | None:
        known = [
            cell.seconds
            for cell in done
            if cell.domain == domain
            and cell.config.get("suite.analysis") == analysis
            and experiment in (None, cell.experiment)
        ]
        return statistics.median(known) if known else None

    def seconds(job: Job, analysis: str | None) -> float | None:
        domain = job.planned.domain
        own = usual(job.planned.experiment, domain, analysis)
        return usual(None, domain, analysis) if own is None else own

    parts = [seconds(job, None) for job in missing]
    parts += [seconds(job, job.planned.analysis) for job in to_do if job.planned.analysis]
    known = [part for part in parts if part is not None]
    unknown = len(parts) - len(known)
    if parts and not known:
        return "no estimate: nothing of the kind is finished yet"
    estimate = f"about {sum(known) / 60:.0f} minutes by what finished cells took"
    return estimate + (f", and {unknown} runs or analyses of unknown length" if unknown else "")


def _state(run: PlannedRun, runs: Runs) -> str:
    if runs.finished(run):
        return "(finished)"
    return "(interrupted)" if os.path.lexists(runs.path(run)) else "(missing)"
