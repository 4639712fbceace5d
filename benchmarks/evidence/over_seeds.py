"""Cells that differ in their seed alone, as one: values over seeds, and which differences count.

Every value has two intervals, one to show and one to decide. Three seeds may measure, each with its
own 95 % interval over prompts,

    0.61 [0.58, 0.64]    0.62 [0.59, 0.65]    0.63 [0.60, 0.66]

The interval *shown* is the range over seeds, [0.61, 0.63]; with one seed it is that seed's own. The
interval that *decides* runs from the lowest lower end to the highest upper end, [0.58, 0.66]. Two
values differ when their deciding intervals do not overlap: 0.57 [0.56, 0.575] lies below, 0.60
[0.59, 0.61] does not. So three seeds that agree by luck on few prompts decide nothing.

A number that lacks a sampling interval in some seed decides nothing, however many seeds there are.
FID and KID are such: the seeds share prompts and references, so the range over seeds is no sampling
error. MAUVE's range over seeds of k-means is none either, and a maximum grows with n.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from benchmarks.domains import DOMAINS
from benchmarks.seeds import MAY_DIFFER
from benchmarks.suite.cells import Cell, differing
from benchmarks.suite.experiment import Experiment
from common.errors import UserError
from common.measure.intervals import Interval

_TTR = re.compile(r"(?:ttr_\d+|\w+_ttr)")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A measure over the seeds of a group.

    Attributes:
        mean: over seeds.
        low: lower end of the interval that is shown; None where there is none.
        high: upper end; None exactly when `low` is.
        sure_low: lower end of the deciding interval; None where a seed has no interval.
        sure_high: its upper end; None exactly when `sure_low` is.
        n: prompts (or other sampling units) per seed; the smallest, if they differ.
        seeds: how many.
    """

    mean: float
    low: float | None
    high: float | None
    sure_low: float | None
    sure_high: float | None
    n: int
    seeds: int

    def to_interval(self) -> Interval:
        """What is shown, for tables and plots."""
        return Interval(self.mean, self.low, self.high, self.n)


def over_seeds(intervals: Sequence[Interval]) -> Value:
    """One value from one interval per seed (see the module's docstring for the rules)."""
    means = [seed.mean for seed in intervals]
    lows = [seed.low for seed in intervals if seed.low is not None]
    highs = [seed.high for seed in intervals if seed.high is not None]
    single = len(intervals) == 1
    bare = len(lows) < len(intervals)
    return Value(
        mean=statistics.fmean(means),
        low=intervals[0].low if single else min(means),
        high=intervals[0].high if single else max(means),
        sure_low=None if bare else min(lows),
        sure_high=None if bare else max(highs),
        n=min(seed.n for seed in intervals),
        seeds=len(intervals),
    )


def is_above(value: Value, reference: Value) -> bool | None:
    """True where `value` lies above `reference`, False where below, None where undecided.

    Undecided are two values whose deciding intervals overlap, or of which one has none. Every
    verdict rests on this.
    """
    ends = value.sure_low, value.sure_high, reference.sure_low, reference.sure_high
    if None in ends:
        return None
    assert value.sure_low is not None and value.sure_high is not None  # for the type checker
    assert reference.sure_low is not None and reference.sure_high is not None
    if value.sure_low > reference.sure_high:
        return True
    return False if value.sure_high < reference.sure_low else None


def is_above_level(value: Value, level: float) -> bool | None:
    """`is_above` against a number that is known exactly."""
    return is_above(value, over_seeds([Interval(level, level, level, value.n)]))


def opposite(relation: bool | None) -> bool | None:
    """Below instead of above; undecided stays undecided."""
    return None if relation is None else not relation


def ratio(value: Value, reference: Value) -> Value | None:
    """value / reference, with the lowest and the highest ratio that their shown intervals allow.

    It has no deciding interval. None where `reference` may be 0.
    """
    if reference.mean <= 0 or (reference.low is not None and reference.low <= 0):
        return None

    def quotient(over: float | None, under: float | None) -> float | None:
        return None if over is None or under is None else over / under

    low = quotient(value.low, reference.high)
    high = quotient(value.high, reference.low)
    return Value(
        mean=value.mean / reference.mean,
        low=low if high is not None else None,
        high=high if low is not None else None,
        sure_low=None,
        sure_high=None,
        n=min(value.n, reference.n),
        seeds=min(value.seeds, reference.seeds),
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cells of one experiment, domain and place on the axes, one per seed.

    Attributes:
        domain: "text" or "image".
        axes: what varies in the experiment, and its value here.
        cells: in the order of their seeds.
    """

    domain: str
    axes: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def domain_title(self) -> str:
        """The domain's name in the report."""
        return DOMAINS[self.domain].title

    def value(self, metric: str) -> Value | None:
        """The metric over the seeds that have it; None where none does."""
        found = [cell.metrics[metric] for cell in self.cells if metric in cell.metrics]
        return over_seeds(found) if found else None

    def decoded(self, condition: str, metric: str, *, prompts: str = "all") -> Value | None:
        """A measure of a condition's continuations; "ttr" is whichever the domain has."""
        name = self.ttr_name() if metric == "ttr" else metric
        return self.value(f"{condition}/{prompts}/{name}")

    def sampling(self, model: str) -> str:
        """The condition of a model's sampling baseline: "original-top-p"."""
        return f"{model}-{DOMAINS[self.domain].sampling}"

    def probe(self, model: str, measure: str) -> Value | None:
        """A measure of predictions on held-out data: "original", "hyperfitted" ..."""
        return self.value(f"probe/{model}/{measure}")

    def conditions(self, prompts: str = "all") -> list[str]:
        """What was decoded, in the order of the cell."""
        names = (name.split("/") for cell in self.cells for name in cell.metrics)
        return list(dict.fromkeys(n[0] for n in names if len(n) == 3 and n[1] == prompts))

    def prompt_sets(self) -> list[str]:
        """The prompt sets of what was decoded, without the pool of all."""
        names = (name.split("/") for cell in self.cells for name in cell.metrics)
        sets = (n[1] for n in names if len(n) == 3 and n[0] != "probe" and n[1] != "all")
        return list(dict.fromkeys(sets))

    def ttr_name(self) -> str:
        """The type-token ratio of this domain; "ttr" where none was measured."""
        tails = (name.rpartition("/")[2] for cell in self.cells for name in cell.metrics)
        return next((tail for tail in tails if _TTR.fullmatch(tail)), "ttr")

    def series(self, name: str) -> list[list[dict[str, Any]]]:
        """The records of a series, one list per seed that has it."""
        return [cell.series[name] for cell in self.cells if cell.series.get(name)]

    def recorded(self, series: str, field: str, **where: Any) -> Value | None:
        """A field of the one record per seed that matches `where`, with `field`_low and _high."""
        found = [
            Interval(r[field], r.get(f"{field}_low"), r.get(f"{field}_high"), 1)
            for records in self.series(series)
            for r in records
            if where.items() <= r.items() and r.get(field) is not None
        ]
        return over_seeds(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a view has to work with: an experiment and the finished cells of one profile.

    Attributes:
        experiment: of `benchmarks.suite.experiment`.
        groups: text before images, then in the experiment's order.
    """

    experiment: Experiment
    groups: tuple[Group, ...]

    @property
    def domains(self) -> list[str]:
        """Domains with at least one group."""
        return list(dict.fromkeys(group.domain for group in self.groups))

    def find(self, domain: str, **axes: Any) -> list[Group]:
        """The domain's groups whose axes have these values."""
        return [
            group
            for group in self.groups
            if group.domain == domain and axes.items() <= group.axes.items()
        ]

    def runs(self, axis: str | None = None) -> dict[str, list[Group]]:
        """Domain -> its groups that are runs: they decoded with the hyperfitted model.

        Args:
            axis: only runs that have it. A domain without a run is left out.
        """
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            if "hyperfitted-greedy" in group.conditions() and (axis is None or axis in group.axes):
                found.setdefault(group.domain, []).append(group)
        return found

    def with_metric(self, metric: str) -> list[Group]:
        """The groups that measured `metric`, of all domains."""
        return [group for group in self.groups if group.value(metric) is not None]


def gather(experiment: Experiment, cells: Sequence[Cell]) -> Evidence:
    """Group the cells of one experiment and profile by domain and axes.

    Raises:
        UserError: the cells of a group differ in more than their seed, or share one.
    """
    order = {cell.key: place for place, cell in reversed(list(enumerate(cells)))}
    domains = list(DOMAINS)
    ranked = sorted(
        cells, key=lambda cell: (domains.index(cell.domain), order[cell.key], cell.seed)
    )
    groups = []
    for _, members in groupby(ranked, key=lambda cell: cell.key):
        same = tuple(members)
        _check_one_config(same)
        groups.append(Group(domain=same[0].domain, axes=same[0].axes, cells=same))
    return Evidence(experiment=experiment, groups=tuple(groups))


def _check_one_config(cells: Sequence[Cell]) -> None:
    first = cells[0]
    for before, cell in pairwise(cells):
        changed = [name for name in differing(first.config, cell.config) if name not in MAY_DIFFER]
        if changed:
            raise UserError(
                expected=f"cells of {first.experiment} that differ in their seed alone",
                got=f"{first.cell} and {cell.cell} differing in {', '.join(changed)}",
                fix=f"delete one of them and run: {first.command}",
            )
        if cell.seed == before.seed:
            raise UserError(
                expected=f"one cell of {first.experiment} per seed and place on its axes",
                got=f"{before.cell} and {cell.cell}, both of seed {cell.seed}",
                fix="delete the one that the experiment no longer plans",
            )
