"""REPORT.md: the same findings and tables as the page, for reading in a repository.

Figures are in report.html only: Markdown as repositories show it takes no inline SVG.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.domains import DOMAINS
from benchmarks.evidence.section import Table, Verdict
from benchmarks.report.page import RULE, TITLE, Entry, findings, headline, table_cells

INTRODUCTION = f"""\
P1 is Carlsson et al., *The Hyperfitting Phenomenon* (ICLR 2025); P2 is Li et al., *Beyond
Temperature* (ICML 2026). Made from the result cells by `python -m benchmarks.report`; figures are
in [report.html](report.html). The models here are small, so directions are compared and not sizes.

{RULE}"""


def markdown(entries: Sequence[Entry]) -> str:
    """The whole file."""
    parts = [f"# {TITLE}", f"**{headline(entries)}**", INTRODUCTION]
    for verdict, heading in (
        (Verdict.CONTRADICTS, "What contradicts the papers"),
        (Verdict.UNDECIDED, "Undecided"),
    ):
        lines = [f"- {_link(e)}: {_safe(f.sentence)}" for e, f in findings(entries, verdict)]
        parts += [f"## {heading}", "\n".join(lines) or "Nothing."]
    parts += ["## All experiments", _overview(entries)]
    not_run = [f"- {_link(e)}: `{e.command}`" for e in entries if e.section is None]
    if not_run:
        parts += ["## Not run yet", "\n".join(not_run)]
    parts += [_experiment(entry) for entry in entries]
    return "\n\n".join(parts) + "\n"


def _overview(entries: Sequence[Entry]) -> str:
    names = " | ".join(domain.title for domain in DOMAINS.values())
    lines = [f"| experiment | {names} | profile | seeds |", "|---" * (len(DOMAINS) + 3) + "|"]
    for entry in entries:
        if entry.section is None:
            lines.append(f"| {_link(entry)} | not run yet | | | |")
            continue
        verdicts = " | ".join("; ".join(entry.verdicts(domain)) for domain in DOMAINS)
        lines.append(f"| {_link(entry)} | {verdicts} | {entry.profile} | {len(entry.seeds)} |")
    return "\n".join(lines)


def _experiment(entry: Entry) -> str:
    """One experiment's part."""
    experiment = entry.experiment
    parts = [
        f'<a id="{entry.anchor}"></a>\n\n## {entry.experiment.number}. {_safe(experiment.title)}',
        f"**{_safe(experiment.question)}**",
    ]
    if experiment.paper:
        keys = ("what", "value", "source")
        rows = [f"| {' | '.join(_safe(one[key]) for key in keys)} |" for one in experiment.paper]
        parts.append("\n".join(["| the papers | value | source |", "|---|---|---|", *rows]))
    section = entry.section
    if section is None:
        return "\n\n".join([*parts, f"Not run yet: `{entry.command}`"])
    parts += [f"*{f.heading}.* {_safe(f.sentence)}" for f in section.findings]
    parts += [section.rule, *(_table(table) for table in section.tables)]
    parts += [_safe(note) for note in section.notes]
    if entry.missing:
        parts.append(f"Missing or failed: {', '.join(entry.missing)}.")
    facts = "; ".join(f"{key}: {_safe(text)}" for key, text in entry.caption())
    larger = f" ({entry.larger})" if entry.larger else ""
    parts.append(f"{entry.intervals} {facts}{larger}. Again: `{entry.command}`")
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    head = [f"| {_safe(table.caption)} | {' | '.join(map(_safe, table.columns))} |"]
    head.append("|---" + "|---:" * len(table.columns) + "|")
    for row, cells in zip(table.rows, table_cells(table), strict=True):
        words = [f"{text} [{ends}]" if ends else text for text, ends in cells]
        label = f"**{_safe(row.label)}**" if row.subject else _safe(row.label)
        head.append(f"| {label} | {' | '.join(words)} |")
    missing = f"\n\nNot measured: {', '.join(table.missing)}." if table.missing else ""
    return "\n".join(head) + missing


def _link(entry: Entry) -> str:
    return f"[{entry.experiment.number}. {_safe(entry.experiment.title)}](#{entry.anchor})"


def _safe(text: object) -> str:
    """Text that Markdown takes as it is, in a table as well."""
    escaped = str(text).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return " ".join(escaped.split())
