"""MAUVE as the views show it: with its range over seeds of k-means, and with its model named."""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.domains import DOMAINS
from benchmarks.evidence.over_seeds import Group, Value

MAUVE = "mauve"
"""How the metric's name begins."""
_NAME = re.compile(rf"{MAUVE}\[(.+)\]")


def mauve_models(group: Group | None) -> list[str]:
    """Under whose states the group's cells measured it, the original's first."""
    names = (n.rpartition("/")[2] for cell in group.cells for n in cell.metrics) if group else ()
    found = {match[1] for name in names if (match := _NAME.fullmatch(name))}
    return sorted(found, key=lambda model: (model != "original", model))


def mauve_of(group: Group | None, condition: str, model: str | None = None) -> Value | None:
    """MAUVE of a condition with the range over seeds of k-means in place of an interval; it has no
    sampling interval, so it decides nothing.

    Args:
        group: whose cells measured it.
        condition: of which.
        model: whose states; the first of `mauve_models` if None.
    """
    models = mauve_models(group)
    if group is None or not models:
        return None
    of = f"[{models[0] if model is None else model}]"
    mean, low, high = (
        group.value(f"{condition}/all/{MAUVE}{which}{of}") for which in ("", "_min", "_max")
    )
    if mean is None or low is None or high is None:
        return mean
    return replace(mean, low=low.mean, high=high.mean)


def mauve_note(group: Group | None) -> list[str]:
    """What a reader must know of it; nothing where it was not measured."""
    models = mauve_models(group)
    if group is None or not models:
        return []
    return [
        f"{DOMAINS[group.domain].title}: MAUVE on hidden states of the {' and the '.join(models)} "
        f"model{'s' if len(models) > 1 else ''}, with its range over seeds of k-means, which is no "
        "confidence interval; it can be compared within its column only."
    ]
