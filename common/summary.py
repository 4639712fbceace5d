"""The end of a run on the terminal: a short table, and one prompt continued before and after.

The report has all of it; this is for those who look at the terminal first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.intervals import in_words
from common.metric_names import condition_label, metric_label

BEFORE, AFTER = "original-greedy", "hyperfitted-greedy"
WIDTH = 96


def conditions_table(metrics: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Every condition, pooled over its prompt sets, with 95 % intervals; plain text.

    The settings of a sampled condition stand below its name, which keeps the table narrow.

    Args:
        metrics: the content of `metrics.json`.
        columns: the metrics to show, a dash where a condition has none.
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
    """The first prompt of the run, continued greedily by the original and the hyperfitted model.

    Not a chosen one: the first, whatever became of it.

    Args:
        samples: the content of `samples.jsonl`.
    """
    first = {
        sample["condition"]: sample
        for sample in reversed(list(samples))
        if sample["prompt_index"] == 0
    }
    texts = [
        ("prompt", first[BEFORE]["prompt"]),
        (condition_label(BEFORE), first[BEFORE]["continuation"]),
        (condition_label(AFTER), first[AFTER]["continuation"]),
    ]
    return "\n".join(f"{title}:\n{_wrapped(text)}" for title, text in texts)


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]


def _wrapped(text: str) -> str:
    # Loops often show as line breaks; on one line each they would fill the terminal.
    return textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="  ", subsequent_indent="  ")
