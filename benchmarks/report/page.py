"""What both forms of the evidence report say, and its HTML page.

The page is one file that loads nothing and whose content policy forbids it to. It uses the style of
a run's own report, so that both pages look the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from benchmarks.domains import DOMAINS
from benchmarks.evidence.over_seeds import Value
from benchmarks.evidence.section import ON_CLAIMS, Finding, Section, Table, Verdict
from benchmarks.evidence.words import decimals, number
from benchmarks.suite.cells import Cell
from benchmarks.suite.experiment import Experiment
from common.report.headline import duration, processors
from common.tools.templating import template_environment, template_text

TITLE = "Hyperfitting: the papers' experiments and the controls they lack"
INTERVALS = {
    1: "One seed: the intervals are that seed's own, 95 % over prompts or sequences.",
    2: "Means over seeds, with the range from the lowest to the highest seed.",
}
RULE = (
    "Two values differ when every seed's 95 % interval of one lies beyond every seed's interval of "
    "the other; otherwise they cannot be told apart and the verdict is undecided. Only values with "
    "a sampling interval of their own decide. MAUVE (shown with its range over k-means), FID, KID, "
    "precision and recall (shown with their range over seeds, which share prompts and references) "
    "and maxima are told and decide nothing. A type-token ratio decides nothing where more than "
    "half of the continuations hold more than 10 tokens in a row from the training set. What no "
    "paper measured is new here: its sentence says how it came out, and it is no claim."
)
"""How verdicts come about, for both forms; `evidence.over_seeds` and
`evidence.copied` carry it out."""
COUNTED = {
    Verdict.CONTRADICTS: ("is contradicted", "are contradicted"),
    Verdict.UNDECIDED: ("is undecided", "are undecided"),
    Verdict.AGREES: ("agrees", "agree"),
    Verdict.NEW: ("finding is new here", "findings are new here"),
    Verdict.NOT_MEASURED: ("was not measured", "were not measured"),
}
"""Each verdict as what one finding and several are."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An experiment in the report.

    Attributes:
        experiment: of `benchmarks.suite.experiment`.
        section: what the view made; None where nothing was run.
        profile: that is shown.
        cells: that are shown.
        planned: how many there should be.
        missing: names of those that are not there.
        larger: how far a larger profile is; "" where none was begun.
        command: what makes them.
    """

    experiment: Experiment
    section: Section | None
    profile: str | None
    cells: Sequence[Cell]
    planned: int
    missing: Sequence[str]
    larger: str
    command: str

    @property
    def anchor(self) -> str:
        """Where links to the experiment lead."""
        return self.experiment.name.replace("_", "-")

    @property
    def seeds(self) -> list[int]:
        """All seeds that are shown."""
        return sorted({cell.seed for cell in self.cells})

    @property
    def intervals(self) -> str:
        """Which interval the figures and tables of this experiment show."""
        return INTERVALS[min(len(self.seeds), 2)]

    def verdicts(self, domain: str) -> list[Verdict]:
        """The verdicts for a domain, in the report's order; one on both counts for either."""
        found = self.section.findings if self.section else ()
        verdicts = {f.verdict for f in found if f.domain in (domain, "both")}
        return [verdict for verdict in Verdict if verdict in verdicts]

    def caption(self) -> list[tuple[str, str]]:
        """What repeats the experiment, as (key, text)."""
        seeds = ", ".join(str(seed) for seed in self.seeds)
        many = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else "one seed"
        assert self.profile is not None, "only what was run has a caption"
        label = self.experiment.profiles[self.profile].label
        rows = [
            ("profile", f"{label}; {len(self.cells)} of {self.planned} cells"),
            ("seeds", f"{many} ({seeds})"),
            ("n", _counts(self.section)),
            ("device", _unique(device_of(cell.provenance) for cell in self.cells)),
            ("commit", _unique(commit_of(cell.provenance) for cell in self.cells)),
            ("time", duration(sum(cell.seconds for cell in self.cells))),
        ]
        return [(key, text) for key, text in rows if text]


def findings(entries: Iterable[Entry], verdict: Verdict) -> list[tuple[Entry, Finding]]:
    """The findings with this verdict, in the order of the experiments."""
    return [
        (entry, finding)
        for entry in entries
        if entry.section
        for finding in entry.section.findings
        if finding.verdict == verdict
    ]


def headline(entries: Sequence[Entry]) -> str:
    """How the claims of the papers came out, and how much there is beside them, in one sentence."""
    counts = {verdict: len(findings(entries, verdict)) for verdict in Verdict}
    phrases = {
        verdict: f"{count} {words[count > 1]}"
        for verdict, words in COUNTED.items()
        if (count := counts[verdict])
    }
    if not phrases:
        return "Nothing was run yet."
    claims = sum(counts[verdict] for verdict in ON_CLAIMS)
    judged = ", ".join(phrases[verdict] for verdict in ON_CLAIMS if verdict in phrases)
    head = (
        f"Of {claims} claim{'s' if claims > 1 else ''} of the papers that "
        f"{'were' if claims > 1 else 'was'} measured, {judged}"
        if judged
        else "No claim of the papers was measured"
    )
    beside = [words for verdict, words in phrases.items() if verdict not in ON_CLAIMS]
    return f"{'; '.join([head, *beside])}."


def page(entries: Sequence[Entry]) -> str:
    """The HTML page."""
    return (
        _environment()
        .get_template("evidence.html.j2")
        .render(
            title=TITLE,
            entries=entries,
            groups=[(v, findings(entries, v)) for v in (Verdict.CONTRADICTS, Verdict.UNDECIDED)],
            headline=headline(entries),
            rule=RULE,
            not_run=[entry for entry in entries if entry.section is None],
        )
    )


def table_cells(table: Table) -> list[list[tuple[str, str]]]:
    """(text, interval) of every cell; a measure has one number of decimals.

    An interval is "low–high", or "low to high" where one of them is negative.
    """
    rows = [row.cells for row in table.rows]
    if table.by_row:
        return [_one_measure(cells) for cells in rows]
    columns = [_one_measure(cells) for cells in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in rows]


def as_text(table: Table) -> str:
    """Tab-separated, six digits, the ends of every interval in columns of their own."""
    heads = [f"{name}\t{name}, low\t{name}, high\tn" for name in table.columns]
    lines = ["\t".join([table.caption, *heads])]
    for row in table.rows:
        values = [
            [cell.mean, cell.low, cell.high, cell.n]
            if isinstance(cell, Value)
            else [cell, None, None, None]
            for cell in row.cells
        ]
        flat = [one for value in values for one in value]
        lines.append("\t".join([row.label, *(_plain(one) for one in flat)]))
    return "\n".join(lines)


def _one_measure(cells: Sequence[Value | str | None]) -> list[tuple[str, str]]:
    """Cells of one measure, with one number of decimals."""
    values = [cell for cell in cells if isinstance(cell, Value)]
    ends = [end for v in values for end in (v.mean, v.low, v.high) if end is not None]
    return [_cell(cell, decimals(ends)) for cell in cells]


def _cell(cell: Value | str | None, places: int) -> tuple[str, str]:
    if cell is None:
        return "—", ""
    if isinstance(cell, str):
        return cell, ""
    if cell.low is None or cell.high is None:
        return number(cell.mean, places), ""
    low, high = number(cell.low, places), number(cell.high, places)
    return number(cell.mean, places), f"{low} to {high}" if cell.low < 0 else f"{low}–{high}"


def _plain(value: float | str | None) -> str:
    return value if isinstance(value, str) else "" if value is None else f"{value:.6g}"


def _counts(section: Section | None) -> str:
    """The smallest and the largest n behind an interval in the tables."""
    cells = [c for table in section.tables for r in table.rows for c in r.cells] if section else []
    counts = sorted({c.n for c in cells if isinstance(c, Value) and c.n > 1})
    if not counts:
        return ""
    most = f" to {counts[-1]:,}" if len(counts) > 1 else ""
    return f"{counts[0]:,}{most} prompts or sequences per value and seed"


def device_of(provenance: dict[str, Any]) -> str:
    """The accelerator, or the CPU with its cores and, where recorded, the threads in use."""
    device = provenance.get("device") or "unknown"
    if device != "cpu":
        return str(device)
    used = processors(provenance).replace("\u00a0", " ")
    return f"{used} of {provenance.get('cpu', 'a CPU')}"


def commit_of(provenance: dict[str, Any]) -> str:
    """Ten digits of the commit, and whether something was not committed."""
    commit = provenance.get("git_commit")
    if not commit:
        return "unknown"
    return f"{commit[:10]}{' with uncommitted changes' if provenance.get('git_dirty') else ''}"


def _unique(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _environment() -> Environment:
    environment = template_environment("benchmarks.report")
    css = [
        template_text("common.report", "report.css"),
        template_text("benchmarks.report", "evidence.css"),
    ]
    environment.globals["css"] = Markup("\n").join(css)
    environment.filters["svg"] = Markup
    environment.filters["cells"] = table_cells
    environment.filters["as_text"] = as_text
    environment.globals["domains"] = {name: one.title for name, one in DOMAINS.items()}
    environment.filters["brief"] = lambda verdict: verdict.name.lower().replace("_", " ")
    environment.filters["slug"] = lambda verdict: verdict.name.lower().replace("_", "-")
    return environment
