"""MAUVE as the views show it: with its range over seeds of k-means, and with its model named."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.views.groups import Group, Value
from benchmarks.views.section import DOMAINS

MAUVE = "mauve"
"""How the metric's name begins."""


def mauve_of(group: Group | None, condition: str) -> Value | None:
    """MAUVE of a condition under whichever model's states it was measured, with the range over
    seeds of k-means in place of an interval; the range decides nothing."""
    name = _name(group)
    if group is None or name is None:
        return None
    of = name.removeprefix(MAUVE)
    mean, low, high = (
        group.value(f"{condition}/all/{MAUVE}{which}{of}") for which in ("", "_min", "_max")
    )
    if mean is None or low is None or high is None:
        return mean
    return replace(mean, low=low.mean, high=high.mean, sure_low=None, sure_high=None)


def mauve_note(group: Group | None) -> list[str]:
    """What a reader must know of it; nothing where it was not measured."""
    name = _name(group)
    if group is None or name is None:
        return []
    model = name.removeprefix(f"{MAUVE}[").removesuffix("]")
    return [
        f"{DOMAINS[group.domain]}: MAUVE on hidden states of the {model} model, with its range "
        "over seeds of k-means, which is no confidence interval; it can be compared within its "
        "table only."
    ]


def _name(group: Group | None) -> str | None:
    """ "mauve[MODEL]", as the cell has it."""
    names = (n.rpartition("/")[2] for cell in group.cells for n in cell.metrics) if group else ()
    return next((name for name in names if name.startswith(f"{MAUVE}[")), None)
