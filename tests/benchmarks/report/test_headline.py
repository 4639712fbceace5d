"""The first sentence of the evidence report.

P1 is Carlsson et al., ICLR 2025, arXiv 2412.04318.
"""

from __future__ import annotations

from benchmarks.evidence.section import ON_CLAIMS, Finding, Section, Verdict
from benchmarks.report.page import Entry, headline
from benchmarks.suite.declarations import load_experiments


def test_without_results_the_headline_says_so() -> None:
    assert headline([]) == "Nothing was run yet."


def entry_with(*verdicts: Verdict) -> Entry:
    found = [
        Finding(
            domain="text",
            verdict=verdict,
            sentence="Text: it is so.",
            claim="P1" if verdict in ON_CLAIMS else None,
        )
        for verdict in verdicts
    ]
    return Entry(
        experiment=load_experiments()[0],
        section=Section(rule="", findings=found),
        profile="quick",
        cells=[],
        planned=0,
        missing=[],
        larger="",
        command="",
    )


def test_the_headline_counts_the_claims_of_the_papers_alone() -> None:
    agrees, new, missing = Verdict.AGREES, Verdict.NEW, Verdict.NOT_MEASURED
    entries = [entry_with(agrees, agrees, Verdict.UNDECIDED, new), entry_with(new, new, missing)]
    assert headline(entries) == (
        "Of 3 claims of the papers that were measured, 1 is undecided, 2 agree; "
        "3 findings are new here; 1 was not measured."
    )
    one = [entry_with(Verdict.CONTRADICTS, new)]
    assert headline(one) == (
        "Of 1 claim of the papers that was measured, 1 is contradicted; 1 finding is new here."
    )
    assert headline([entry_with(new)]) == (
        "No claim of the papers was measured; 1 finding is new here."
    )


def test_an_experiment_has_each_of_its_verdicts_once_in_the_report_s_order() -> None:
    entry = entry_with(Verdict.NEW, Verdict.AGREES, Verdict.NEW)
    assert entry.verdicts("text") == [Verdict.AGREES, Verdict.NEW]
    assert entry.verdicts("image") == []
