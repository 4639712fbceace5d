"""Experiment 15: is it the same phenomenon in text and images? Every axis is shared.

No paper has a figure of images, so all of this is new here. (`benchmarks.domains` is something
else: the registry of the domains.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.domains import DOMAINS
from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import band, dot_rows
from benchmarks.evidence.over_seeds import Evidence, Value, is_above, ratio
from benchmarks.evidence.plots import dot_plot, small_line_chart
from benchmarks.evidence.section import Judged, Section, TableRow, make_table, settle
from benchmarks.evidence.words import shown
from common.report.charts import Level

PAIR = ("text", "image")
TTR = "greedy type-token ratio"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A measure that both domains have, before and after hyperfitting.

    Attributes:
        name: for the reader.
        before: its metric for the original model.
        after: for the hyperfitted one; "TTR" stands for the domain's type-token ratio.
    """

    name: str
    before: str
    after: str


SHARED = (
    Shared(
        name="held-out entropy (nats)",
        before="probe/original/entropy_nats",
        after="probe/hyperfitted/entropy_nats",
    ),
    Shared(
        name="mass of the likeliest token",
        before="probe/original/top1_mass",
        after="probe/hyperfitted/top1_mass",
    ),
    Shared(
        name="held-out loss (nats)",
        before="probe/original/loss_nats",
        after="probe/hyperfitted/loss_nats",
    ),
    Shared(
        name=TTR,
        before="original-greedy/all/TTR",
        after="hyperfitted-greedy/all/TTR",
    ),
    Shared(
        name="greedy rep-4",
        before="original-greedy/all/rep_4",
        after="hyperfitted-greedy/all/rep_4",
    ),
    Shared(
        name="greedy overlap (tokens)",
        before="original-greedy/all/overlap_tokens",
        after="hyperfitted-greedy/all/overlap_tokens",
    ),
    Shared(
        name="dimension of the last block",
        before="last-block/dimension_original",
        after="last-block/dimension_hyperfitted",
    ),
    Shared(
        name="dimension after the norm",
        before="after-norm/dimension_original",
        after="after-norm/dimension_hyperfitted",
    ),
)
AGREEMENT = "teacher-forced/original/top1_agreement"
"""Equal first choices of the original and the hyperfitted model on true continuations."""


def view(evidence: Evidence) -> Section:
    both = {
        shared.name: [_before_after(evidence, domain, shared) for domain in PAIR]
        for shared in SHARED
    }
    compared = {
        name: [(before, after) for before, after in pair if before and after]
        for name, pair in both.items()
        if all(before and after for before, after in pair)
    }
    needed = {"any measure in both domains": _first(compared)}
    copied = {domain: _any(evidence, domain, f"hyperfitted-greedy/all/{COPIED}") for domain in PAIR}
    rule = partial(_rule, compared, {k: value for k, value in copied.items() if value})
    ratios = dot_rows(
        (name, [ratio(after, before) if after and before else None for before, after in pair])
        for name, pair in both.items()
    )
    figure = dot_plot(
        ratios,
        title="Hyperfitted / original",
        description="ratio of every shared measure, text and images",
        x_label="ratio (logarithmic)",
        legend=[DOMAINS[domain].title.lower() for domain in PAIR],
        levels=[Level(y=1.0, label="no change")],
        log_x=True,
    )
    rows = [
        TableRow(label=name, cells=[value for values in pair for value in values])
        for name, pair in both.items()
    ]
    text, image = (_any(evidence, domain, AGREEMENT) for domain in PAIR)
    rows.append(TableRow(label="first choices left as they were", cells=[None, text, None, image]))
    columns = ["text, before", "text, after", "images, before", "images, after"]
    missing = [name for name, pair in both.items() if not all(b and a for b, a in pair)]
    return Section(
        rule="Every shared measure moves the same way in both domains; the opposite is one that "
        "moves the other way, and one that does not measurably move leaves it undecided. No paper "
        "has measured images, so there is nothing to agree with.",
        findings=[settle("both", needed, rule, claim=None)],
        figures=[drawn for drawn in (figure, _depth(evidence)) if drawn],
        tables=[make_table("Greedy decoding and held-out predictions", columns, rows, by_row=True)],
        notes=[
            "The interval of a ratio in the figure runs from the lowest to the highest that the "
            "shown ends of its two parts allow: with several seeds these are the range over seeds, "
            "so it is no confidence interval. What moves is decided by the values themselves.",
            *([f"Not measured in both domains: {', '.join(missing)}."] if missing else []),
        ],
    )


def _before_after(
    evidence: Evidence, domain: str, shared: Shared
) -> tuple[Value | None, Value | None]:
    return _any(evidence, domain, shared.before), _any(evidence, domain, shared.after)


def _any(evidence: Evidence, domain: str, metric: str) -> Value | None:
    """The metric of the first of the domain's groups that has it."""
    for group in evidence.find(domain):
        value = group.value(metric.replace("TTR", group.ttr_name()))
        if value is not None:
            return value
    return None


def _first(compared: dict[str, list[tuple[Value, Value]]]) -> Value | None:
    return next((pair[0][0] for pair in compared.values()), None)


def _rule(
    compared: dict[str, list[tuple[Value, Value]]], copied: dict[str, Value], _: Value
) -> Judged:
    parts: list[bool | None] = []
    same, other, unclear = [], [], []
    for name, pair in compared.items():
        text, image = (is_above(after, before) for before, after in pair)
        if name == TTR:
            text, image = (by_ttr(moved, *copied.values()) for moved in (text, image))
        if text is None or image is None:
            unclear.append(name)
            parts.append(None)
        else:
            (same if text == image else other).append(name)
            parts.append(text == image)
    words = f"{len(same)} of {len(parts)} shared measures move the same way in text and images"
    words += f" ({', '.join(same)})" if same else ""
    words += f"; opposite ways: {', '.join(other)}" if other else ""
    words += f"; not measurably in one of them: {', '.join(unclear)}" if unclear else ""
    ttr = compared.get(TTR)
    if ttr:
        (text_before, text_after), (image_before, image_after) = ttr
        words += (
            f"; the greedy type-token ratio goes from {shown(text_before)} to {shown(text_after)} "
            f"in text and from {shown(image_before)} to {shown(image_after)} in images"
        )
    return parts, words + copied_clause({f"in {name}": share for name, share in copied.items()})


def _depth(evidence: Evidence) -> str:
    """Change of the effective dimension by relative depth, both domains on one pair of axes."""
    lines = [
        band(
            group,
            "by_layer",
            "relative_depth",
            "dimension_change",
            label=DOMAINS[domain].title.lower(),
            colour=colour,
            after_norm=False,
        )
        for colour, domain in enumerate(PAIR)
        for group in evidence.find(domain)
        if group.series("by_layer")
    ]
    return small_line_chart(
        lines, title="Change of effective dimension by block", x_label="relative depth"
    )
