"""Experiments: what is asked, what varies, what the papers found, and the cells that follow.

An experiment times a profile gives the planned cells. `benchmarks.suite.declarations` reads both
from YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.suite.cells import Axes, Key
from common.errors import UserError

Options = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much is run.

    Attributes:
        name: quick, full, ...
        label: what the report calls it.
        seeds: of the runs.
        like: the profile whose options and cells it takes, with seeds of its own and the cells
            that name it besides; or None.
        options: domain -> options of every run.
    """

    name: str
    label: str
    seeds: tuple[int, ...]
    like: str | None = None
    options: Mapping[str, Options] = field(default_factory=dict)

    @property
    def grid(self) -> str:
        """The profile by whose name declarations ask for its cells and options."""
        return self.like or self.name


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell that can be made.

    Attributes:
        experiment, cell, domain, profile, seed, axes: see `benchmarks.suite.cells.Cell`.
        options: dotted options of the run, the seed included.
        repeat: 0, or which repetition of an equal run it is.
        analysis: name in `benchmarks.analyses`, or None.
        analysis_options: for it.
        against: axes of the cell whose run is the comparison, or None.
        keep: patterns of the figures to keep.
        needs: data the user has to bring, or None.
    """

    experiment: str
    cell: str
    domain: str
    profile: str
    seed: int
    axes: Axes
    options: Options
    repeat: int = 0
    analysis: str | None = None
    analysis_options: Options = field(default_factory=dict)
    against: Axes | None = None
    keep: tuple[str, ...] = ("*",)
    needs: str | None = None

    @property
    def key(self) -> Key:
        """That of the finished cell."""
        return self.experiment, self.domain, tuple(sorted(self.axes.items()))

    @property
    def compared_with(self) -> str | None:
        """Name of the cell of this experiment whose run is the comparison."""
        return None if self.against is None else cell_name(self.domain, self.against, self.seed)


@dataclass(frozen=True, kw_only=True)
class CellEntry:
    """One entry below `cells` of a declaration; see `benchmarks.suite.declarations`.

    `layers` are its options by domain, and "all"; `by_profile` has the same for single profiles.
    """

    axes: Axes = field(default_factory=dict)
    layers: Mapping[str, Options] = field(default_factory=dict)
    by_profile: Mapping[str, Mapping[str, Options]] = field(default_factory=dict)
    domains: list[str] | None = None
    profiles: list[str] | None = None
    analysis: str | None = None
    analysis_options: Options = field(default_factory=dict)
    against: Axes | None = None
    repeat: int = 0
    needs: str | None = None

    def options(self, domain: str, profile: str) -> Options:
        """Dotted options for one domain and profile."""
        merged: Options = {}
        for layers in (self.layers, self.by_profile.get(profile, {})):
            merged |= layers.get("all", {}) | layers.get(domain, {})
        return merged


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One declaration.

    Attributes:
        name: of its file, without the suffix.
        number: its place in the report, from 1.
        title, question: for people.
        domains: which it is for.
        paper: {what, value, source} of each figure of the papers.
        entries: what varies.
        base: options of every cell.
        analysis, analysis_options, against, keep: see `benchmarks.suite.declarations`.
        profiles: all there are, by name.
    """

    name: str
    number: int
    title: str
    question: str
    domains: tuple[str, ...]
    paper: list[dict[str, Any]]
    entries: list[CellEntry]
    base: CellEntry
    analysis: str | None
    analysis_options: Options
    against: Axes | None
    keep: tuple[str, ...]
    profiles: Mapping[str, Profile]

    def cells(self, profile: str) -> list[PlannedCell]:
        """Every cell of a profile: domains, then entries, then seeds.

        Raises:
            UserError: no such profile.
        """
        chosen = pick_profile(self.profiles, profile)
        return [
            self._plan(entry, domain, chosen, seed)
            for domain in self.domains
            for entry in self.entries
            if domain in (entry.domains or self.domains)
            and not {chosen.name, chosen.grid}.isdisjoint(entry.profiles or self.profiles)
            for seed in chosen.seeds
        ]

    def _plan(self, entry: CellEntry, domain: str, profile: Profile, seed: int) -> PlannedCell:
        options = self.profiles[profile.grid].options.get(domain, {})
        options = options | self.base.options(domain, profile.grid)
        options = options | entry.options(domain, profile.grid) | {"seed": seed}
        against = self.against if entry.against is None else entry.against
        plain = entry.axes == against  # the one that the others are compared with
        analysis = None if plain else entry.analysis or self.analysis
        return PlannedCell(
            experiment=self.name,
            cell=cell_name(domain, entry.axes, seed),
            domain=domain,
            profile=profile.name,
            seed=seed,
            axes=entry.axes,
            options=options,
            repeat=entry.repeat,
            analysis=analysis,
            analysis_options=self.analysis_options | entry.analysis_options if analysis else {},
            against=None if plain else against,
            keep=self.keep,
            needs=entry.needs,
        )


def cell_name(domain: str, axes: Axes, seed: int) -> str:
    """ "text-8-updates-seed0": fit for a file's name."""
    values = (re.sub(r"[^a-z0-9.]+", "-", str(value).lower()).strip("-") for value in axes.values())
    return "-".join([domain, *values, f"seed{seed}"])


def pick_profile(profiles: Mapping[str, Profile], name: str) -> Profile:
    """The profile of that name.

    Raises:
        UserError: there is none.
    """
    if name not in profiles:
        raise UserError(
            expected=f"a profile among {', '.join(profiles)}",
            got=repr(name),
            fix="correct --profile",
        )
    return profiles[name]


def pick_experiments(experiments: Iterable[Experiment], names: list[str]) -> list[Experiment]:
    """Those of these names, in the report's order; all where none is named.

    Raises:
        UserError: a name that none has.
    """
    known = {experiment.name: experiment for experiment in experiments}
    for name in names:
        if name not in known:
            raise UserError(
                expected=f"experiments among {', '.join(known)}", got=repr(name), fix="correct it"
            )
    return [experiment for name, experiment in known.items() if name in names or not names]
