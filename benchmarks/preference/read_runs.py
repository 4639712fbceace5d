"""Finished runs, read for comparison: who continued which prompt, and how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.domains import DOMAINS
from benchmarks.seeds import MAY_DIFFER
from common.errors import UserError
from common.record.run_folder import RunFolder
from common.report.names import Methods

_FIELDS = ("prompt_set", "prompt_index", "condition", "prompt", "continuation", "tokens")

Prompt = tuple[str, int]
"""Prompt set and index within it."""


@dataclass(frozen=True, eq=False)
class Run:
    """One finished run.

    Attributes:
        name: the end of its path, as long as needed to differ from the other runs'.
        folder: of the run.
        domain: "text" or "image".
        config: its configuration without what may differ between repeats.
        samples: condition -> prompt -> record of `samples.jsonl`.
        methods: condition -> how it decodes, of `metrics.json`; empty in older runs.
    """

    name: str
    folder: RunFolder
    domain: str
    config: dict[str, Any]
    samples: dict[str, dict[Prompt, dict[str, Any]]]
    methods: Methods


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read finished runs.

    Raises:
        UserError: a folder twice, without a finished run, without samples, or of a domain that
            people cannot be shown.
    """
    parts = [Path(os.path.realpath(path)).parts for path in paths]
    if len(set(parts)) < len(parts):
        raise UserError(
            expected="every run once", got=" ".join(map(str, paths)), fix="leave doubles out"
        )
    depth = next(n for n in range(1, 1000) if len({p[-n:] for p in parts}) == len(parts))
    return [
        _read(path, name="/".join(part[-depth:])) for path, part in zip(paths, parts, strict=True)
    ]


def differ_in_seed_alone(runs: Sequence[Run]) -> bool:
    """Whether these are repeats of one configuration."""
    return all(run.config == runs[0].config for run in runs)


def _read(path: Path, *, name: str) -> Run:
    folder = RunFolder(path)
    metrics = folder.read_metrics()
    domain = metrics["domain"]
    if domain not in DOMAINS:
        raise UserError(
            expected=f"a run of {' or '.join(DOMAINS)}",
            got=f"{str(path)!r} of domain {domain!r}",
            fix="leave it out",
        )
    records = folder.read_samples()
    if not records or any(field not in r for r in records for field in _FIELDS):
        what = "with other records" if records else "without any"
        raise UserError(
            expected=f"samples in {str(folder.samples)!r}",
            got=f"a run {what}",
            fix="run it again: a finished run writes them",
        )
    config = folder.read_config()
    samples: dict[str, dict[Prompt, dict[str, Any]]] = {}
    for record in records:
        if record["condition"] not in DOMAINS[domain].not_compared:
            prompt = record["prompt_set"], record["prompt_index"]
            samples.setdefault(record["condition"], {})[prompt] = record
    kept = {key: value for key, value in config.items() if key not in MAY_DIFFER}
    return Run(name, folder, domain, kept, samples, metrics.get("methods", {}))
