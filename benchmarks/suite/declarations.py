"""Reads experiments from YAML.

Each `benchmarks/experiments/NAME.yaml` declares the experiment NAME, and `profiles.yaml` there says
what the profiles share: seeds and settings. An experiment and a profile give the planned cells:

    number              its place in the report, from 1; no two have the same
    title, question     for the report
    domains             text, image
    paper               what the papers found: a list of {what, value, source}
    analysis            what is made of a finished run; without it the run's own figures are taken
    analysis_options    for the analysis
    against             axes of the cell whose run the others are compared with; that cell itself
                        is a plain run
    keep                patterns of the run's figures that are kept; all by default
    base                options of every cell: `all`, `text`, `image`, and the same once more below
                        the name of a profile
    cells               what varies: `axes`, options as in `base`, and where they differ from the
                        experiment's: `domains`, `profiles`, `analysis`, `analysis_options`,
                        `against`; `repeat` asks for a run of its own although its options are
                        those of another; `needs: cifar` for data that no package holds

Options are dotted, as on the command line of a run. Later ones win: profile, base, cell; within
each `all`, the domain, then the profile's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import yaml

from benchmarks.domains import DOMAINS
from benchmarks.suite.experiment import CellEntry, Experiment, Profile
from common.errors import UserError

FOLDER = Path(__file__).parent.parent / "experiments"
PROFILES = "profiles.yaml"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEYS = {f.name for f in fields(Experiment)} - {"name", "entries", "profiles"} | {"cells"}
_NEEDED = {"number", "title", "question", "domains", "paper", "cells"}
_LAYERS = {"all", *DOMAINS}
_CELL_KEYS = {f.name for f in fields(CellEntry)} - {"layers", "by_profile"} | _LAYERS
_PROFILE_KEYS = {f.name for f in fields(Profile)} - {"name", "options"} | DOMAINS.keys()


def load_profiles(folder: Path = FOLDER) -> dict[str, Profile]:
    """The profiles of `profiles.yaml`, by name.

    Raises:
        UserError: not YAML, or keys that are unknown or missing.
    """
    path = folder / PROFILES
    profiles = {}
    for name, entry in _read(path).items():
        _check_keys(entry, _PROFILE_KEYS, {"label", "seeds"}, path)
        profiles[name] = Profile(
            name=name,
            label=entry["label"],
            seeds=tuple(entry["seeds"]),
            like=entry.get("like"),
            options={domain: entry[domain] for domain in DOMAINS if domain in entry},
        )
    for profile in profiles.values():
        if profile.like is None:
            continue
        _check_among([profile.like], profiles, "like", path)
        if any(profile.options.values()):
            _refuse(path, f"like alone in {profile.name}", "options beside it", "drop one of them")
        if further := profiles[profile.like].like:
            got = f"{profile.like}, which is like {further}"
            _refuse(
                path,
                f"{profile.name} to be like a profile with options",
                got,
                "name another profile",
            )
    return profiles


def load_experiments(folder: Path = FOLDER) -> list[Experiment]:
    """Every experiment, in the order of their numbers.

    Raises:
        UserError: a file that is not YAML, has unknown or missing keys, gives two cells one name,
            or has the number of another file.
    """
    profiles = load_profiles(folder)
    found: dict[int, Experiment] = {}
    for path in sorted(path for path in folder.glob("*.yaml") if path.name != PROFILES):
        experiment = _load(path, profiles)
        if before := found.get(experiment.number):
            got = f"number {experiment.number}, as in {before.name}.yaml"
            _refuse(path, "a number of its own", got, "give one of the two another number")
        found[experiment.number] = experiment
    return [found[number] for number in sorted(found)]


def _load(path: Path, profiles: Mapping[str, Profile]) -> Experiment:
    if not _NAME.fullmatch(path.stem):
        expected = "lower-case letters, digits and underscores as the file's name"
        _refuse(path, expected, repr(path.stem), "rename the file")
    declared = _read(path)
    _check_keys(declared, _KEYS, _NEEDED, path)
    number = declared["number"]
    if type(number) is not int or number < 1:
        _refuse(path, "a whole number from 1 on as number", repr(number), "correct number")
    for figure in declared["paper"]:
        known = {"what", "value", "source"}
        _check_keys(figure, known, known, path)
    domains = tuple(declared["domains"])
    against = declared.get("against")
    experiment = Experiment(
        name=path.stem,
        number=number,
        title=declared["title"],
        question=declared["question"],
        domains=domains,
        paper=declared["paper"],
        entries=[_entry(cell, _CELL_KEYS, profiles, path) for cell in declared["cells"]],
        base=_entry(declared.get("base", {}), _LAYERS, profiles, path),
        analysis=declared.get("analysis"),
        analysis_options=declared.get("analysis_options", {}),
        against=against,
        keep=tuple(declared.get("keep", ["*"])),
        profiles=profiles,
    )
    for entry in experiment.entries:
        _check_among(entry.domains or [], domains, "domains", path)
        _check_among(entry.profiles or [], profiles, "profiles", path)
    _check_among(domains, DOMAINS, "domains", path)
    for profile in profiles:
        names = [cell.cell for cell in experiment.cells(profile)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            _refuse(path, "cells of different names", f"{twice[0]} twice", "change its axes")
        for cell in experiment.cells(profile):
            if cell.compared_with is not None and cell.compared_with not in names:
                got = f"against: {cell.against}, which is none of them"
                expected = f"a cell of the {profile} profile to compare with"
                _refuse(path, expected, got, "correct against")
    return experiment


def _entry(declared: Any, keys: set[str], profiles: Mapping[str, Profile], path: Path) -> CellEntry:
    _check_keys(declared, keys | set(profiles), set(), path)
    by_profile = {name: declared[name] for name in profiles if name in declared}
    for layers in by_profile.values():
        _check_keys(layers, _LAYERS, set(), path)
    layers = {name: declared[name] for name in declared if name in _LAYERS}
    own = {n: value for n, value in declared.items() if n not in by_profile and n not in layers}
    return CellEntry(**own, layers=layers, by_profile=by_profile)


def _read(path: Path) -> dict[str, Any]:
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(path, "a readable file", f"{error.strerror}", "check the path")
    except yaml.YAMLError as error:
        _refuse(path, "YAML", str(error), "correct its syntax")
    if not isinstance(read, dict):
        _refuse(path, "a mapping", f"a {type(read).__name__}", "write keys and values")
    return read


def _check_keys(found: Any, known: set[str], needed: set[str], path: Path) -> None:
    if not isinstance(found, dict):
        _refuse(
            path, f"a mapping of {', '.join(sorted(known))}", f"{found!r}", "write keys and values"
        )
    unknown, missing = sorted(found.keys() - known), sorted(needed - found.keys())
    if unknown:
        got = f"the unknown {', '.join(map(repr, unknown))}"
        _refuse(path, f"keys among {', '.join(sorted(known))}", got, "remove or correct them")
    if missing:
        _refuse(path, f"the keys {', '.join(sorted(needed))}", f"no {missing[0]!r}", "add it")


def _check_among(found: Iterable[str], known: Iterable[str], what: str, path: Path) -> None:
    for name in found:
        if name not in known:
            _refuse(path, f"{what} among {', '.join(known)}", repr(name), "correct it")


def _refuse(path: Path, expected: str, got: str, fix: str) -> NoReturn:
    raise UserError(expected=f"{expected} in {path.name}", got=got, fix=fix)
