"""What a run prints at its end: a short table, and prompts continued before and after.

The report has all of it; this is for those who look at the terminal first. `python -m
common.report.terminal DIR...` prints it again for finished runs.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import run_cli
from common.measure.intervals import in_words
from common.record.run_folder import RunFolder
from common.report.headline import headline
from common.report.names import condition_label, metric_label
from common.report.presentation import read_presentation
from common.tools.values import path_argument

BEFORE, AFTER = "original-greedy", "hyperfitted-greedy"
WIDTH = 96


def conditions_table(metrics: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Every condition, pooled over its prompt sets, with 95 % intervals; plain text.

    The settings of a sampled condition are printed below its name, to keep the table narrow.

    Args:
        metrics: the content of `metrics.json`.
        columns: the metrics to show; a condition without one gets a dash.
    """
    rows = [["", *(metric_label(name) for name in columns)]]
    for condition, sets in metrics["conditions"].items():
        cells = (in_words(sets["all"][m]) if m in sets["all"] else "-" for m in columns)
        name, comma, how = condition_label(condition, metrics.get("methods")).partition(", ")
        rows.append([f"{name}{comma.rstrip()}", *cells])
        if how:
            rows.append([f"  {how}", *("" for _ in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_pad(row, widths)).rstrip() for row in rows]
    prompts = metrics["conditions"][AFTER]["all"][columns[0]]["n"]
    return "\n".join([*lines, f"{prompts} prompts; [95 % bootstrap interval]"])


def before_after(samples: Iterable[Mapping[str, Any]]) -> str:
    """The first prompt of each set, continued greedily by the original and the hyperfitted model.

    They are not selected by their quality: always the first prompt.

    Args:
        samples: the content of `samples.jsonl`.
    """
    firsts: dict[str, dict[str, Mapping[str, Any]]] = {}
    for sample in samples:
        if sample["prompt_index"] == 0:
            # A set of longer continuations has the same prompt as the one it belongs to.
            firsts.setdefault(sample["prompt"], {}).setdefault(sample["condition"], sample)
    return "\n\n".join(
        "\n".join(
            [
                f"prompt ({texts[BEFORE]['prompt_set']}):\n{_wrapped(prompt)}",
                *(
                    f"{condition_label(name)}:\n{_wrapped(texts[name]['continuation'])}"
                    for name in (BEFORE, AFTER)
                ),
            ]
        )
        for prompt, texts in firsts.items()
    )


def finished_run_text(folder: Path) -> str:
    """The headline of a finished run, its first prompts if they are text, and its page.

    Raises:
        UserError: the folder holds no finished run.
    """
    run = RunFolder(folder)
    metrics = run.read_metrics()
    parts = [f"{metrics['domain']}: {' '.join(headline(metrics, run.read_history()))}"]
    if read_presentation(folder).samples:
        parts.append(before_after(run.read_samples()))
    return "\n\n".join([*parts, f"report: {run.report}"])


def main(argv: list[str]) -> int:
    """`python -m common.report.terminal DIR...`."""
    parser = argparse.ArgumentParser(prog="python -m common.report.terminal", description=__doc__)
    parser.add_argument(
        "folders", type=path_argument, nargs="+", help="the --out folders of finished runs"
    )
    print("\n\n".join(finished_run_text(folder) for folder in parser.parse_args(argv).folders))
    return 0


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]


def _wrapped(text: str) -> str:
    # Repetitive texts often consist of line breaks, which would fill the terminal.
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="  ", subsequent_indent="  ")


if __name__ == "__main__":
    sys.exit(run_cli(main))
