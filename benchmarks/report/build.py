"""The evidence as two files, REPORT.md and one offline report.html, from result cells alone.

    python -m benchmarks.report            # writes benchmarks/REPORT.md and benchmarks/report.html
    python -m benchmarks.report --check    # exit 2 when they are not what the results give
    python -m benchmarks.report --partial  # also experiments that are not complete

Of each experiment the largest profile is shown (the last in profiles.yaml) whose cells are all
done. An experiment that was begun and has none is an error, so that no half of a grid passes for
the whole, unless --partial. What contradicts the papers comes first. The same results give the same
bytes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.over_seeds import gather
from benchmarks.experiments import show
from benchmarks.report.markdown import markdown
from benchmarks.report.page import Entry, page
from benchmarks.suite.cells import Cell, read_cells
from benchmarks.suite.declarations import load_experiments
from benchmarks.suite.experiment import Experiment
from common.errors import UserError
from common.tools.files import atomic_write_text, writing
from common.tools.values import path_argument

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is shown of an experiment.

    Attributes:
        profile: the one that is shown; None where nothing was run.
        cells: its finished cells.
        planned: how many cells the profile has.
        missing: names of its cells that are missing or failed.
        larger: how far a larger profile is, "" where none was begun.
    """

    profile: str | None
    cells: Sequence[Cell]
    planned: int
    missing: Sequence[str]
    larger: str


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=path_argument, default=HERE / "results" / "suite")
    parser.add_argument(
        "--out-dir", type=path_argument, default=HERE, help="where the two files go"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--partial", action="store_true", help="show incomplete experiments too")
    options = parser.parse_args(argv)
    made = build(options.results, partial=options.partial)
    for name, text in made.items():
        path = options.out_dir / name
        if not options.check:
            with writing(options.out_dir):
                options.out_dir.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, text)
            print(path)
        elif not os.path.isfile(path) or path.read_text(encoding="utf-8") != text:
            raise UserError(
                expected=f"{path} as the results give it",
                got="another text" if os.path.isfile(path) else "no such file",
                fix="run: python -m benchmarks.report",
            )
    return 0


def build(results: Path, *, partial: bool) -> dict[str, str]:
    """File name -> content.

    Args:
        results: the folder of result cells.
        partial: whether incomplete experiments are shown instead of refused.

    Raises:
        UserError: a cell that cannot be read or that nothing plans, an incomplete experiment.
    """
    experiments = load_experiments()
    cells = read_cells(results)
    planned = {
        (experiment.name, profile, cell.cell)
        for experiment in experiments
        for profile in experiment.profiles
        for cell in experiment.cells(profile)
    }
    for cell in cells:
        if (cell.experiment, cell.profile, cell.cell) not in planned:
            raise UserError(
                expected="results of cells that a declaration plans",
                got=f"cell {cell.cell} of {cell.experiment!r} in profile {cell.profile!r}",
                fix="delete the results of what no longer exists",
            )
    entries = [
        _entry(experiment, [c for c in cells if c.experiment == experiment.name], partial)
        for experiment in experiments
    ]
    return {"REPORT.md": markdown(entries), "report.html": page(entries)}


def choose(experiment: Experiment, cells: Sequence[Cell], *, partial: bool) -> Chosen:
    """The largest complete profile, or with `partial` the largest that has any finished cell.

    Raises:
        UserError: cells exist, but no profile is complete; names the first cell that is missing.
    """
    begun: list[Chosen] = []
    larger: list[str] = []
    for profile in reversed(list(experiment.profiles)):
        planned = experiment.cells(profile)
        there = {cell.cell: cell for cell in cells if cell.profile == profile}
        done = [there[one.cell] for one in planned if _is_done(there.get(one.cell))]
        absent = [one for one in planned if not _is_done(there.get(one.cell))]
        found = Chosen(
            profile=profile,
            cells=done,
            planned=len(planned),
            missing=[one.cell for one in absent],
            larger="; ".join(larger),
        )
        # Data that the user has to bring is no duty.
        if done and all(one.needs for one in absent):
            return found
        if there:
            begun.append(found)
            larger.append(f"of {profile} {len(done)} of {len(planned)} cells are done")
    if not begun:
        return Chosen(profile=None, cells=[], planned=0, missing=[], larger="")
    first = begun[0]
    if partial:
        return next((one for one in begun if one.cells), first)
    failed = {cell.cell: cell.error for cell in cells if cell.profile == first.profile}
    duties = (one.cell for one in experiment.cells(first.profile or "") if not one.needs)
    name = next((name for name in duties if name in first.missing), first.missing[0])
    state = f"failed: {failed[name]}" if name in failed else "missing"
    raise UserError(
        expected=f"all {first.planned} cells of {experiment.name} in profile {first.profile}",
        got=f"{name} {state} ({len(first.missing)} in all)",
        fix=f"run: {command(experiment, first.profile)} (or pass --partial)",
    )


def command(experiment: Experiment, profile: str | None) -> str:
    """What makes an experiment's results, in the smallest profile when None."""
    name = profile or next(iter(experiment.profiles))
    needs = dict.fromkeys(cell.needs for cell in experiment.cells(name) if cell.needs)
    options = "".join(f" --{what} FOLDER" for what in needs)
    return f"python -m benchmarks.suite {experiment.name} --profile {name}{options}"


def _is_done(cell: Cell | None) -> bool:
    return cell is not None and cell.status == "done"


def _entry(experiment: Experiment, cells: Sequence[Cell], partial: bool) -> Entry:
    chosen = choose(experiment, cells, partial=partial)
    evidence = gather(experiment, chosen.cells) if chosen.cells else None
    return Entry(
        experiment=experiment,
        section=show(evidence) if evidence else None,
        profile=chosen.profile,
        cells=chosen.cells,
        planned=chosen.planned,
        missing=chosen.missing,
        larger=chosen.larger,
        command=command(experiment, chosen.profile),
    )
