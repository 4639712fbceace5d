"""Figures over several seeds: what text.run or image.run measured, run by run and together.

    for seed in 0 1 2; do python -m text.run --seed $seed --out runs/text/seed$seed; done
    python -m benchmarks.seeds runs/text/seed0 runs/text/seed1 runs/text/seed2 --out FILE.json

Reads finished run folders, checks that they differ in their seed alone, and prints for each
condition the figures of every run, pooled and by prompt set, their mean and their range. Ratios are
taken within a run. The JSON it writes holds everything it printed and where it came from.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError, run_cli
from common.record.run_folder import RunFolder
from common.report.names import condition_label
from common.tools.files import atomic_write_text, writing
from common.tools.inputs import keep_apart
from common.tools.values import path_argument

COLUMNS = {
    "text": ("ttr_96", "rep_4", "overlap_tokens", "overlap_max", "overlap_over_10", "self_bleu_4"),
    "image": (
        "code_ttr",
        "vertical_equal_share",
        "flat_share",
        "fid[cifar-net]",
        "kid[cifar-net]",
        "copy_rate",
        "overlap_over_10",
    ),
}
"""What the table shows, the type-token ratio first, then the measure of repetition."""
MAY_DIFFER = ("seed", "out", "name", "overwrite", "resume", "json")


def load(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """`metrics.json` of every folder, with its configuration under "config".

    Raises:
        UserError: a folder without a finished run, configurations that differ in more than the
            seed, or a seed that comes twice.
    """
    runs = []
    for folder in folders:
        run = RunFolder(folder)
        metrics = run.read_metrics()
        runs.append(metrics | {"config": run.read_config()})
    settings = [{k: v for k, v in run["config"].items() if k not in MAY_DIFFER} for run in runs]
    for folder, other in zip(folders[1:], settings[1:], strict=True):
        changed = sorted(key for key in other if other[key] != settings[0].get(key))
        if changed:
            raise UserError(
                expected="runs that differ in their seed alone",
                got=f"{folder} and {folders[0]} differing in {', '.join(changed)}",
                fix="compare runs of one configuration",
            )
    domains = {run["domain"] for run in runs}
    if len(domains) > 1 or not domains <= COLUMNS.keys():
        raise UserError(
            expected=f"runs of one domain among {', '.join(COLUMNS)}",
            got=", ".join(sorted(domains)),
            fix="summarise each domain by itself",
        )
    seeds = [run["config"]["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(expected="one run per seed", got=f"seeds {seeds}", fix="leave doubles out")
    return runs


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and range over runs, with the values themselves."""
    return {
        "mean": statistics.mean(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Conditions, sharpness, training and the ratios within each run."""

    def pooled(run: dict[str, Any], condition: str, metric: str) -> float:
        return run["conditions"][condition]["all"][metric]["mean"]

    def figures(prompts: str) -> dict[str, Any]:
        """Condition -> metric -> spread, on one prompt set."""

        def of(condition: str, metric: str) -> dict[str, Any]:
            intervals = [run["conditions"][condition][prompts][metric] for run in runs]
            return spread([one["mean"] for one in intervals]) | {"intervals": intervals}

        return {
            condition: {metric: of(condition, metric) for metric in columns}
            # Runs of an older version have fewer conditions.
            for condition in runs[0]["conditions"]
            if all(condition in run["conditions"] for run in runs)
        }

    def ratio(metric: str, over: str, under: str) -> dict[str, Any]:
        below = [pooled(run, under, metric) for run in runs]
        return spread(
            [
                pooled(run, over, metric) / value if value else float("inf")
                for run, value in zip(runs, below, strict=True)
            ]
        )

    probes = [run["probe"] for run in runs]
    greedy, original = "hyperfitted-greedy", "original-greedy"
    columns = COLUMNS[runs[0]["domain"]]
    ttr, repetition = columns[:2]
    blocked, moved = f"{greedy}-blocked", None  # a run may leave it out (measure.conditions)
    if all(blocked in run["conditions"] for run in runs):
        moved = spread([abs(pooled(r, blocked, ttr) - pooled(r, greedy, ttr)) for r in runs])
    return {
        "domain": runs[0]["domain"],
        "n_prompts": runs[0]["conditions"][greedy]["all"][ttr]["n"],
        "conditions": figures("all"),
        "by_set": {name: figures(name) for name in runs[0]["conditions"][greedy] if name != "all"},
        "ratios": {
            f"{ttr}, hyperfitted greedy / original greedy": ratio(ttr, greedy, original),
            f"{repetition}, original greedy / hyperfitted greedy": ratio(
                repetition, original, greedy
            ),
            "held-out entropy, hyperfitted / original": spread(
                [p["hyperfitted"]["entropy_nats"] / p["original"]["entropy_nats"] for p in probes]
            ),
            "held-out top-1 mass, hyperfitted / original": spread(
                [p["hyperfitted"]["top1_mass"] / p["original"]["top1_mass"] for p in probes]
            ),
        },
        **({f"{ttr} moved by the blocker": moved} if moved else {}),
        "training": {
            key: spread([run["training"][key] for run in runs])
            for key in ("final_loss", "updates", "epochs", "seconds", "total_seconds")
            # A final loss may be unknown; a mean over the other runs would not say of which.
            if all(run["training"][key] is not None for run in runs)
        },
        "methods": next((run["methods"] for run in runs if run.get("methods")), {}),
        "outcomes": [run["training"]["outcome"] for run in runs],
        "provenance": [run["provenance"] for run in runs],
        "config": runs[0]["config"],
    }


def table(summary: dict[str, Any]) -> str:
    """The figures as Markdown, a table per prompt set: mean over runs, range in brackets."""
    columns = COLUMNS[summary["domain"]]
    lines = []
    for name, conditions in {"all": summary["conditions"], **summary["by_set"]}.items():
        lines += [f"| {name} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for condition, metrics in conditions.items():
            cells = [
                f"{m['mean']:.3f} [{m['min']:.3f}, {m['max']:.3f}]"
                for m in (metrics[metric] for metric in columns)
            ]
            label = condition_label(condition, summary["methods"])
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        lines.append("")
    moved = f"{columns[0]} moved by the blocker"
    figures = summary["ratios"] | ({moved: summary[moved]} if moved in summary else {})
    figures |= {f"training {name}": value for name, value in summary["training"].items()}
    lines += [
        f"{name}: {value['mean']:.3f} [{value['min']:.3f}, {value['max']:.3f}]"
        for name, value in figures.items()
    ]
    lines.append(f"outcomes: {', '.join(summary['outcomes'])}; prompts: {summary['n_prompts']}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=__doc__)
    parser.add_argument("folders", nargs="+", type=path_argument, help="finished run folders")
    parser.add_argument("--out", type=path_argument, help="also write the summary as JSON")
    options = parser.parse_args(argv)
    if options.out:
        keep_apart(options.out, [], searched=[("a run", folder) for folder in options.folders])
    summary = summarise(load(options.folders))
    print(table(summary))
    if options.out:
        with writing(options.out.parent):
            options.out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(options.out, json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
