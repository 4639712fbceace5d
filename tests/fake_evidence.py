"""Made-up evidence of one experiment, as it is or changed, for the tests of the views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fake_cells import fake_cells

from benchmarks.evidence.over_seeds import Evidence, Value, gather, over_seeds
from benchmarks.evidence.section import Finding, Section
from benchmarks.experiments import show
from benchmarks.suite.cells import Cell
from benchmarks.suite.declarations import load_experiments
from common.measure.intervals import Interval

EXPERIMENTS = {experiment.name: experiment for experiment in load_experiments()}
Metrics = dict[str, Interval]
Change = Callable[[Cell, Metrics], None]
GREEDY = "hyperfitted-greedy/all/TTR"
COPIED = "hyperfitted-greedy/all/overlap_over_10"


def evidence(name: str, profile: str = "quick") -> Evidence:
    """All cells of an experiment."""
    experiment = EXPERIMENTS[name]
    return gather(experiment, fake_cells([experiment], profile))


def changed(name: str, *changes: Change, profile: str = "quick") -> Section:
    """The section of an experiment whose metrics or series were changed in place."""
    cells = []
    for cell in fake_cells([EXPERIMENTS[name]], profile):
        own = dataclasses.replace(cell, metrics=dict(cell.metrics))
        for change in changes:
            change(own, own.metrics)
        cells.append(own)
    return show(gather(EXPERIMENTS[name], cells))


def set_to(name: str, mean: float, reach: float = 0.01) -> Change:
    """Give a metric of every cell that has it another value; TTR stands for the domain's."""

    def change(cell: Cell, metrics: Metrics) -> None:
        for metric in metrics:
            if metric.replace("code_ttr", "TTR").replace("ttr_96", "TTR") == name:
                low, high = mean - reach * abs(mean), mean + reach * abs(mean)
                metrics[metric] = Interval(mean, low, high, 160)

    return change


def of(change: Change, **axes: Any) -> Change:
    """The change for cells with these values of the axes alone."""

    def only(cell: Cell, metrics: Metrics) -> None:
        if axes.items() <= cell.axes.items():
            change(cell, metrics)

    return only


def at(section: Section, domain: str) -> list[Finding]:
    """The findings of a domain."""
    return [finding for finding in section.findings if finding.domain == domain]


def value(mean: float, low: float | None = None, high: float | None = None) -> Value:
    """A value of one seed with 10 prompts."""
    return over_seeds([Interval(mean, low, high, 10)])
