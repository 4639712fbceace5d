"""The report of a run: one offline HTML page, made from the files of its folder alone.

People look before they count, so samples come first, then curves and tables.

`build_report` is called at the end of a run; `python -m common.report DIR` makes the same page
again. What a domain adds (title, own sections such as image grids, definitions of its metrics) is
kept in `report.json`, so nothing is lost when the page is rebuilt. The page loads no other file,
and its content policy forbids that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from common.hyperfit.time_spent import time_line
from common.record.run_folder import MARK, RunFolder
from common.report import headline as words
from common.report.curves import curves
from common.report.names import (
    Methods,
    condition_label,
    metric_label,
    reference_of,
    ttr_name,
)
from common.report.presentation import Presentation, presentation_file, read_presentation
from common.report.samples import COPIED_MIN_RUN, LEVELS, spans
from common.report.tables import (
    across_table,
    condition_tables,
    definition_rows,
    probe_table,
    provenance_rows,
)
from common.tools.templating import content_hash, template_environment, template_text

PROMPTS_SHOWN = 8
"""Prompts per set on the page; `samples.jsonl` holds all."""


def build_report(folder: Path, shown: Presentation | None = None) -> Path:
    """Write `report.html` into a finished run's folder.

    Args:
        folder: the run's folder. `metrics.json` and `config.yaml` must exist; without
            `history.jsonl` or `samples.jsonl` the page has no curves or samples.
        shown: what the domain adds; it is written to `report.json`. None reads it from there.

    Returns:
        The path of the page.

    Raises:
        UserError: the folder holds no finished run, or cannot be written.
    """
    run = RunFolder(folder)
    metrics = run.read_metrics()
    if shown is None:
        shown = read_presentation(folder)
    else:
        run.write_text(presentation_file(folder), json.dumps(asdict(shown), indent=1) + "\n")
    history = run.read_history()
    samples = run.read_samples() if shown.samples else []
    ttr = ttr_name(metrics["conditions"]) or ""
    named = reference_of(metrics)
    reference = None if named is None else named.condition
    config = run.config.read_text(encoding="utf-8").removeprefix(f"{MARK}\n")

    page = (
        _environment(shown.labels, metrics.get("methods"))
        .get_template("report.html.j2")
        .render(
            title=shown.title or _default_title(metrics, folder),
            headline=words.headline(metrics, history),
            remarks=[*words.remarks(metrics), *shown.remarks, *_time(metrics["training"])],
            charts=[Markup(chart) for chart in curves(metrics, history)],
            events=[r for r in history if r["kind"] == "event"],
            tables=condition_tables(metrics["conditions"], first=shown.first, reference=reference),
            across=across_table(metrics.get("across_samples", {})),
            probe=probe_table(metrics["probe"]),
            reference=reference,
            ttr=ttr,
            prompts=_prompts(samples, _main_conditions(metrics, reference)),
            prompts_total=len({(s["prompt_set"], s["prompt_index"]) for s in samples}),
            levels=LEVELS,
            copied_min_run=COPIED_MIN_RUN,
            sections=shown.sections,
            config=config,
            provenance=provenance_rows(metrics["provenance"]),
            definitions=definition_rows(metrics, shown),
        )
    )
    run.write_text(run.report, page)
    return run.report


def _environment(labels: Mapping[str, str], methods: Methods | None) -> Environment:
    environment = template_environment("common.report")
    environment.filters["metric"] = lambda name: labels.get(name) or metric_label(name)
    environment.filters["condition"] = partial(condition_label, methods=methods)
    environment.filters["spans"] = spans
    environment.globals["css"] = template_text("common.report", "report.css")
    script = template_text("common.report", "report.js")
    environment.globals |= {"script": script, "script_hash": content_hash(script)}
    return environment


def _time(training: Mapping[str, Any]) -> list[str]:
    """How the time of training was spent; runs of an earlier version did not measure it."""
    parts = training.get("seconds_by_part")
    return [time_line(parts)] if parts else []


def _default_title(metrics: Mapping[str, Any], folder: Path) -> str:
    return f"Hyperfitting, {metrics['domain']}: {folder.resolve().name}"


def _main_conditions(metrics: Mapping[str, Any], reference: str | None) -> list[str]:
    """The conditions whose continuations are cards, in their order: what the headline compares,
    what really followed, the original model sampled, the citation blocker."""
    sampled = [
        name
        for name, method in metrics.get("methods", {}).items()
        if method["stage"] == "original" and "temperature" in method["settings"]
    ]
    compared = ["original-greedy", "hyperfitted-greedy", *([reference] if reference else [])]
    return [*compared, *sampled, "hyperfitted-greedy-blocked"]


def _prompts(samples: Sequence[Mapping[str, Any]], main: Sequence[str]) -> list[dict[str, Any]]:
    """The first prompts of each set, each with its main and its other continuations."""

    def key(sample: Mapping[str, Any]) -> tuple[str, int]:
        return sample["prompt_set"], sample["prompt_index"]

    sets = {
        name: place for place, name in enumerate(dict.fromkeys(s["prompt_set"] for s in samples))
    }
    ordered = sorted(samples, key=lambda s: (sets[s["prompt_set"]], s["prompt_index"]))
    prompts, shown = [], dict.fromkeys(sets, 0)
    for (prompt_set, index), group in groupby(ordered, key=key):
        if shown[prompt_set] == PROMPTS_SHOWN:
            continue
        shown[prompt_set] += 1
        by_condition = {sample["condition"]: sample for sample in group}
        prompts.append(
            {
                "set": prompt_set,
                "index": index,
                "text": next(iter(by_condition.values()))["prompt"],
                "main": [by_condition[c] for c in main if c in by_condition],
                "others": [s for c, s in by_condition.items() if c not in main],
            }
        )
    return prompts
