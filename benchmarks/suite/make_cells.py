"""Run the experiments: what is missing, and nothing twice.

    python -m benchmarks.suite --profile quick                  everything, on 2 CPU cores
    python -m benchmarks.suite data_order copying --profile full
    python -m benchmarks.suite --profile full --shard 3/8       one machine of eight
    python -m benchmarks.suite --profile full --dry-run

For each cell the training run is made, resumed or found in --runs; its figures, or an analysis of
it, are written to --results as one JSON file. Cells that are done are skipped, so a call after a
crash, a kill or a failure goes on where the last one ended. A cell that fails is recorded with its
error and does not stop the others; the exit code is 1 then, and the next call tries it again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import Cell, cell_path, differing, read_cell, write_cell
from benchmarks.suite.declarations import load_experiments
from benchmarks.suite.experiment import pick_experiments
from benchmarks.suite.plan import Job, plan_jobs, take_shard
from benchmarks.suite.preview import preview
from benchmarks.suite.run_figures import figures
from benchmarks.suite.training_runs import Runs
from common.errors import UserError
from common.record.provenance import provenance
from common.tools.values import path_argument

PROG = "python -m benchmarks.suite"
EXIT_FAILED_CELLS = 1


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    chosen = pick_experiments(load_experiments(), options.names)
    jobs = take_shard(plan_jobs(chosen, options.profile, cifar=options.cifar), options.shard)
    found = find_done(jobs, options.results, overwrite=options.overwrite)
    runs = Runs(options.runs, _print)
    if options.dry_run:
        for line in preview(jobs, found, runs):
            print(line)
        return 0
    measured = _by_figures(jobs, found)
    # Figures that another profile has measured are not measured again.
    others = [name for name in chosen[0].profiles if name != options.profile]
    for other in others if len(found) < len(jobs) else ():
        same = plan_jobs(chosen, other, cifar=options.cifar)
        measured = _by_figures(same, find_done(same, options.results, overwrite=True)) | measured
    return EXIT_FAILED_CELLS if run_jobs(jobs, found, runs, options.results, measured) else 0


def find_done(jobs: Sequence[Job], results: Path, *, overwrite: bool = False) -> dict[str, Cell]:
    """Cells that need not be made again, by name.

    Failed cells are left out. With `overwrite`, so are cells of another configuration.

    Raises:
        UserError: a done cell of another configuration, or a file that is no cell.
    """
    found: dict[str, Cell] = {}
    for job in jobs:
        path = _path(job, results)
        cell = read_cell(path) if os.path.lexists(path) else None
        if cell is None or cell.status == "failed":
            continue
        changed = differing(job.run.defaults | cell.config, job.config)
        if not changed:
            found[job.name] = cell
        elif not overwrite:
            raise UserError(
                expected=f"the configuration of the finished cell {job.name}",
                got=f"another {', '.join(changed)}",
                fix="pass --overwrite to make it anew, or another --results",
            )
    return found


def run_jobs(
    jobs: Sequence[Job],
    found: Mapping[str, Cell],
    runs: Runs,
    results: Path,
    measured: Mapping[str, Cell] | None = None,
) -> int:
    """Make every cell that is not among `found`; gives how many failed.

    Args:
        jobs: all there are.
        found: the cells that are done, by the job's name.
        runs: where runs are made.
        results: folder of the cells.
        measured: done cells by their figures, `_by_figures` of jobs and found if None.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM; all that is done stays done.
    """
    measured = dict(_by_figures(jobs, found) if measured is None else measured)
    to_do = [job for job in jobs if job.name not in found]
    _print(f"{len(jobs)} cells, {len(found)} of them done")
    failed = 0
    for number, job in enumerate(to_do, start=1):
        _print(f"[{number}/{len(to_do)}] {job.name} ({job.planned.analysis or job.run.name})")
        started = time.perf_counter()
        cell = make_cell(job, runs, measured.get(_figures_key(job)))
        try:
            write_cell(results, cell)
        except UserError as error:
            cell = _failed_cell(job, str(error))
            write_cell(results, cell)
        seconds = time.perf_counter() - started
        if cell.status == "done":
            measured[_figures_key(job)] = cell
        else:
            failed += 1
        what = cell.status if cell.error is None else f"failed: {cell.error}"
        _print(f"  {what}; {seconds:.0f} s, {len(to_do) - number} left")
    if failed:
        _print(f"{failed} of {len(to_do)} cells failed; the same command tries them again")
    return failed


def make_cell(job: Job, runs: Runs, measured: Cell | None) -> Cell:
    """The finished or failed cell of a job.

    Args:
        job: what to make.
        runs: where its runs are made.
        measured: a done cell with the same figures, perhaps of another experiment; or None.
    """
    if measured is not None:
        return replace(_cell(job), **{n: getattr(measured, n) for n in _MEASURED})
    try:
        if job.missing is not None:
            return _failed_cell(job, job.missing)
        folders = [runs.ensure(run) for run in job.runs]
        return _measure(job, folders)
    except UserError as error:
        return _failed_cell(job, str(error))
    except Exception as error:  # one analysis must not end the others; the trace is for us
        traceback.print_exc()
        return _failed_cell(job, f"{type(error).__name__}: {error}")


def analyse(name: str, folders: Sequence[Path], options: dict[str, Any]) -> Any:
    """`Measured` of an analysis on a run and, where there is one, the run it is compared with.

    Raises:
        UserError: no such analysis, or what it says of its options and runs.
    """
    # Here, because both load models and networks, which a dry run has no use for.
    from benchmarks.analyses import ANALYSES
    from benchmarks.analyses.finished_run import FinishedRun

    if name not in ANALYSES:
        raise UserError(
            expected=f"an analysis among {', '.join(ANALYSES)}",
            got=repr(name),
            fix="correct analysis in the experiment's YAML file",
        )
    opened = {folder: FinishedRun.open(folder) for folder in dict.fromkeys(folders)}
    run, other = folders[0], folders[1] if len(folders) > 1 else None
    return ANALYSES[name](opened[run], None if other is None else opened[other], options)


_MEASURED = ("status", "metrics", "series", "provenance", "seconds")


def _measure(job: Job, folders: Sequence[Path]) -> Cell:
    planned = job.planned
    if planned.analysis is None:
        of_run = figures(folders[0], keep=planned.keep)
        measured = {n: getattr(of_run, n) for n in ("metrics", "series", "provenance", "seconds")}
        return replace(_cell(job), status="done", **measured)
    started = time.perf_counter()
    analysed = analyse(planned.analysis, folders, planned.analysis_options)
    return replace(
        _cell(job),
        status="done",
        metrics=dict(analysed.metrics),
        series=dict(analysed.series),
        provenance=provenance(planned.seed, _command(job).split()),
        seconds=round(time.perf_counter() - started, 1),
    )


def _cell(job: Job) -> Cell:
    planned = job.planned
    return Cell(
        experiment=planned.experiment,
        cell=planned.cell,
        domain=planned.domain,
        profile=planned.profile,
        seed=planned.seed,
        axes=planned.axes,
        status="done",
        command=_command(job),
        config=job.config,
    )


def _failed_cell(job: Job, error: str) -> Cell:
    made_by = provenance(job.planned.seed, _command(job).split())
    line = " ".join(error.split())
    return replace(_cell(job), status="failed", error=line, provenance=made_by)


def _by_figures(jobs: Iterable[Job], found: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells among `found` by what their figures are of."""
    return {_figures_key(job): found[job.name] for job in jobs if job.name in found}


def _figures_key(job: Job) -> str:
    """Equal for jobs whose cells hold equal figures."""
    other = None if job.other is None else job.other.name
    return json.dumps([job.run.name, other, job.config], sort_keys=True)


def _path(job: Job, results: Path) -> Path:
    planned = job.planned
    return cell_path(
        results, profile=planned.profile, experiment=planned.experiment, cell=planned.cell
    )


def _command(job: Job) -> str:
    needs = f" --{job.planned.needs} FOLDER" if job.planned.needs else ""
    return f"{PROG} {job.planned.experiment} --profile {job.planned.profile}{needs}"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="experiments; all where none is named")
    parser.add_argument("--profile", default="quick", help="quick, small or full")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="part I of N")
    parser.add_argument("--dry-run", action="store_true", help="list cells, runs and an estimate")
    parser.add_argument(
        "--overwrite", action="store_true", help="make cells of another configuration anew"
    )
    parser.add_argument(
        "--runs", type=path_argument, default=Path("runs/suite"), help="of training runs"
    )
    parser.add_argument(
        "--results", type=path_argument, default=Path("benchmarks/results/suite"), help="of cells"
    )
    parser.add_argument("--cifar", type=path_argument, metavar="FOLDER", help="where CIFAR-10 lies")
    return parser
