"""What a view makes of an experiment: figures, tables, findings; and how a finding is judged.

A finding is one sentence put together from measured numbers, with a verdict by a stated rule. A
view names what its rule needs; where a number is missing the finding says so and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.views.groups import Evidence, Value

DOMAINS = {"text": "Text", "image": "Images"}


class Verdict(StrEnum):
    """What a finding says about the papers, in the order of the report."""

    CONTRADICTS = "contradicts the paper"
    UNDECIDED = "undecided"
    AGREES = "agrees with the paper"
    NO_COUNTERPART = "no counterpart in the papers"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence of what follows.

    Attributes:
        domain: "text", "image" or "both".
        verdict: by the view's rule.
        sentence: with the numbers it rests on.
    """

    domain: str
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """`label`, then a value, a word or None (not measured) per column; `subject` stands out."""

    label: str
    cells: Sequence[Value | str | None]
    subject: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: head of the first column.
        columns: heads of the others.
        rows: from top to bottom.
        folded: whether it is shown on demand only.
        missing: columns that nobody measured.
        by_row: whether a row is one measure, so that it has one number of decimals; else a column.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[TableRow]
    folded: bool = False
    missing: Sequence[str] = ()
    by_row: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """The part of the report that is one experiment's.

    Attributes:
        rule: how the verdict is found, in one sentence.
        findings: one per domain, or one for both.
        figures: `<svg>` elements.
        tables: in order.
        notes: what a reader must know to read them.
    """

    rule: str
    findings: Sequence[Finding]
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


View = Callable[[Evidence], Section]
Judged = tuple[Sequence[bool | None], str]
"""What a rule gives: the parts of the paper's claim (see `judge`), and the sentence."""


def settle(
    domain: str,
    needed: Mapping[str, Value | None],
    rule: Callable[..., Judged],
    *,
    covered: bool = True,
) -> Finding:
    """Apply a rule to the values it needs, or say which of them were not measured.

    Args:
        domain: "text", "image" or "both".
        needed: what the rule needs, by the name a reader knows it by.
        rule: takes the values in that order.
        covered: whether the paper measured this at all; if not there is nothing to agree with.
    """
    where = DOMAINS.get(domain, "Both domains")
    if missing := [name for name, value in needed.items() if value is None]:
        sentence = f"{where}: not measured: {', '.join(missing)}."
        return Finding(domain=domain, verdict=Verdict.NOT_MEASURED, sentence=sentence)
    claims, sentence = rule(*needed.values())
    verdict = judge(claims) if covered else Verdict.NO_COUNTERPART
    return Finding(domain=domain, verdict=verdict, sentence=f"{where}: {sentence}.")


def judge(claims: Sequence[bool | None]) -> Verdict:
    """The verdict on a claim of a paper from its parts: for each part True (as the paper says),
    False (the opposite) or None (unclear)."""
    if False in claims:
        return Verdict.CONTRADICTS
    return Verdict.UNDECIDED if None in claims else Verdict.AGREES


def opposite(relation: bool | None) -> bool | None:
    """Below instead of above; unclear stays unclear."""
    return None if relation is None else not relation


def make_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[TableRow],
    *,
    folded: bool = False,
    by_row: bool = False,
) -> Table:
    """A table of the columns that some row measured; the others are named in `missing`."""
    keep = [i for i in range(len(columns)) if any(row.cells[i] is not None for row in rows)]
    return Table(
        caption=caption,
        columns=[columns[i] for i in keep],
        rows=[
            TableRow(label=row.label, cells=[row.cells[i] for i in keep], subject=row.subject)
            for row in rows
        ],
        folded=folded,
        by_row=by_row,
        missing=[name for i, name in enumerate(columns) if i not in keep],
    )
