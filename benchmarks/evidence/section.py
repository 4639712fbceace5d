"""What a view makes of an experiment: figures, tables, findings; and how a finding is judged.

A finding is one sentence put together from measured numbers. Where a paper makes the claim that is
tested, the finding has a verdict by a stated rule. What no paper measured is new here: it has no
verdict, and its sentence says what was found. A view names the values that its rule needs. Where
one of them is missing, the finding says so and decides nothing.

Claims are cited as P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) or P2 (Li et al., ICML 2026,
arXiv 2605.22579), with the section or table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.domains import DOMAINS
from benchmarks.evidence.over_seeds import Evidence, Value


class Verdict(StrEnum):
    """What a finding says about the papers, in the order of the report."""

    CONTRADICTS = "contradicts the paper"
    UNDECIDED = "undecided"
    AGREES = "agrees with the paper"
    NEW = "new here"
    NOT_MEASURED = "not measured"


ON_CLAIMS = (Verdict.CONTRADICTS, Verdict.UNDECIDED, Verdict.AGREES)
"""What only the claim of a paper can get."""
OUTCOMES = {
    Verdict.CONTRADICTS: "the opposite of what the rule below looks for",
    Verdict.UNDECIDED: "undecided by the rule below",
    Verdict.AGREES: "as the rule below looks for",
}
"""How a new finding came out, for its sentence."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence of what follows.

    Attributes:
        domain: "text", "image" or "both".
        verdict: by the view's rule.
        sentence: with the numbers it rests on.
        claim: where a paper claims what is tested, "P1 Table 1"; None where no paper measured it.
    """

    domain: str
    verdict: Verdict
    sentence: str
    claim: str | None

    def __post_init__(self) -> None:
        assert (self.verdict in ON_CLAIMS) <= (self.claim is not None), self
        assert (self.verdict is Verdict.NEW) <= (self.claim is None), self

    @property
    def heading(self) -> str:
        """ "agrees with the paper (P1 Table 1)"."""
        return f"{self.verdict} ({self.claim})" if self.claim else str(self.verdict)


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
        findings: one or several per domain, or one for both.
        figures: `<svg>` elements.
        tables: in order.
        notes: what a reader must know to read them.
    """

    rule: str
    findings: Sequence[Finding]
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one domain, or one group of cells, adds to the section of its experiment.

    Attributes:
        findings, tables, notes: as of a `Section`.
        figures: `<svg>` elements; "" where there was nothing to draw.
    """

    findings: Sequence[Finding]
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


def section_of(parts: Iterable[Part], *, rule: str, notes: Sequence[str] = ()) -> Section:
    """The parts in one section, in order; `notes` follow those of the parts."""
    made = list(parts)
    return Section(
        rule=rule,
        findings=[finding for part in made for finding in part.findings],
        figures=[figure for part in made for figure in part.figures if figure],
        tables=[table for part in made for table in part.tables],
        notes=[note for part in made for note in part.notes] + list(notes),
    )


View = Callable[[Evidence], Section]
Judged = tuple[Sequence[bool | None], str]
"""What a rule gives: the parts of what is tested (see `judge`), none where the sentence says all,
and the sentence."""


def settle(
    domain: str,
    needed: Mapping[str, Value | None],
    rule: Callable[..., Judged],
    *,
    claim: str | None,
) -> Finding:
    """Apply a rule to the values it needs, or say which of them were not measured.

    Args:
        domain: "text", "image" or "both".
        needed: what the rule needs, by the name a reader knows it by.
        rule: takes the values in that order.
        claim: where a paper claims this; None if none measured it, so that there is nothing to
            agree with.
    """
    where = DOMAINS[domain].title if domain in DOMAINS else "Both domains"
    if missing := [name for name, value in needed.items() if value is None]:
        sentence = f"{where}: not measured: {', '.join(missing)}."
        return Finding(domain=domain, verdict=Verdict.NOT_MEASURED, sentence=sentence, claim=claim)
    parts, sentence = rule(*needed.values())
    verdict = judge(parts)
    if claim is None:
        sentence += f"; {OUTCOMES[verdict]}" if parts else ""
        verdict = Verdict.NEW
    return Finding(domain=domain, verdict=verdict, sentence=f"{where}: {sentence}.", claim=claim)


def judge(parts: Sequence[bool | None]) -> Verdict:
    """The verdict on a claim of a paper from its parts: for each part True (as the paper says),
    False (the opposite) or None (undecided, see `over_seeds.is_above`)."""
    if False in parts:
        return Verdict.CONTRADICTS
    return Verdict.UNDECIDED if None in parts else Verdict.AGREES


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
