"""One offline HTML page that tells what a run did, made from the files of its folder alone.

`build_report` is called at the end of a run; `python -m common.report DIR` makes the same page
again. What a domain adds (title, own sections such as image grids, definitions of its metrics) is
kept in `report.json`, so nothing is lost when the page is rebuilt. The page loads nothing from
anywhere, and its content policy forbids it to.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from common import headline as words
from common.curves import curves
from common.errors import run_cli
from common.files import atomic_write_text
from common.metric_names import condition_label, metric_label, reference_name, ttr_name
from common.record import MARK, RunFolder
from common.report_tables import (
    condition_tables,
    definition_rows,
    probe_table,
    provenance_rows,
)
from common.sample_markup import COPIED_MIN_RUN, LEVELS, repetition_scores, spans
from common.templating import template_environment, template_text

__all__ = ["ReportSection", "build_report", "repetition_scores"]

PROMPTS_SHOWN = 8
"""Prompts per set on the page; `samples.jsonl` holds all."""
_MAIN_CONDITIONS = (
    "original-greedy",
    "original-top-p",
    "hyperfitted-greedy",
    "hyperfitted-greedy-blocked",
    "human",
)


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A part of the page that only a domain can make.

    Attributes:
        heading: plain text.
        html: trusted markup, put in as it is; pictures as data: URIs.
    """

    heading: str
    html: str


def build_report(
    folder: Path,
    *,
    title: str | None = None,
    extra_sections: Sequence[ReportSection] = (),
    definitions: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    first: Sequence[str] = (),
    samples: bool = True,
) -> Path:
    """Write `report.html` into a finished run's folder.

    Args:
        folder: the run's folder; `metrics.json` and `config.yaml` must be there, without
            `history.jsonl` or `samples.jsonl` the page has no curves or samples.
        title: heading of the page. With this, or either of the next two, `report.json` is written
            anew; without any it is read.
        extra_sections: shown before everything else.
        definitions: metric name -> one line, for metrics that only the domain knows.
        labels: metric name -> what the page calls it instead of the usual.
        first: metrics that the tables begin with.
        samples: whether the continuations' pieces are shown, coloured, side by side.

    Returns:
        The path of the page.

    Raises:
        UserError: no finished run there, or it cannot be written.
    """
    run = RunFolder(folder)
    metrics = run.read_metrics()
    kept_path = folder / "report.json"
    if title is not None or extra_sections or definitions:
        kept = {
            "title": title or _default_title(metrics, folder),
            "sections": [asdict(section) for section in extra_sections],
            "definitions": dict(definitions or {}),
            "labels": dict(labels or {}),
            "first": list(first),
            "samples": samples,
        }
        atomic_write_text(kept_path, json.dumps(kept, indent=1) + "\n")
    elif kept_path.exists():
        kept = json.loads(kept_path.read_text(encoding="utf-8"))
    else:
        kept = {"title": _default_title(metrics, folder), "sections": [], "definitions": {}}
    history = run.read_history()
    shown = run.read_samples() if kept.get("samples", samples) else []
    ttr = ttr_name(metrics["conditions"]) or ""
    own_labels: dict[str, str] = kept.get("labels", {})
    config = run.config.read_text(encoding="utf-8").removeprefix(f"{MARK}\n")

    page = (
        _environment(own_labels)
        .get_template("report.html.j2")
        .render(
            title=kept["title"],
            headline=words.headline(metrics, history),
            remarks=words.remarks(metrics),
            charts=[Markup(chart) for chart in curves(metrics, history)],
            events=[r for r in history if r["kind"] == "event"],
            tables=condition_tables(metrics["conditions"], first=kept.get("first", ())),
            probe=probe_table(metrics["probe"]),
            reference=reference_name(metrics["conditions"]),
            ttr=ttr,
            prompts=_prompts(shown),
            prompts_total=len({(s["prompt_set"], s["prompt_index"]) for s in shown}),
            levels=LEVELS,
            copied_min_run=COPIED_MIN_RUN,
            sections=kept["sections"],
            config=config,
            provenance=provenance_rows(metrics["provenance"]),
            definitions=definition_rows(metrics, kept["definitions"], own_labels),
        )
    )
    atomic_write_text(run.report, page)
    return run.report


def main(argv: list[str]) -> int:
    """`python -m common.report DIR`."""
    parser = argparse.ArgumentParser(prog="python -m common.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="the --out folder of a finished run")
    print(build_report(parser.parse_args(argv).folder))
    return 0


def _environment(labels: Mapping[str, str]) -> Environment:
    environment = template_environment("common")
    environment.filters["metric"] = lambda name: labels.get(name) or metric_label(name)
    environment.filters["condition"] = condition_label
    environment.filters["spans"] = spans
    environment.globals["css"] = template_text("common", "report.css")
    environment.globals["script"] = template_text("common", "report.js")
    return environment


def _default_title(metrics: Mapping[str, Any], folder: Path) -> str:
    return f"Hyperfitting, {metrics['domain']}: {folder.resolve().name}"


def _prompts(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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
                "main": [by_condition[c] for c in _MAIN_CONDITIONS if c in by_condition],
                "others": [s for c, s in by_condition.items() if c not in _MAIN_CONDITIONS],
            }
        )
    return prompts


if __name__ == "__main__":
    sys.exit(run_cli(main))
