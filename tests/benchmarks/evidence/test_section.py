"""A section is its parts in order, with its own notes last."""

from __future__ import annotations

from fake_evidence import EXPERIMENTS, evidence

from benchmarks.evidence.over_seeds import gather
from benchmarks.evidence.section import Finding, Part, Verdict, make_table, section_of


def part(name: str, *figures: str) -> Part:
    finding = Finding(domain="text", verdict=Verdict.NEW, sentence=name, claim=None)
    table = make_table(name, [], [])
    return Part(findings=[finding], figures=figures, tables=[table], notes=[f"{name}'s note"])


def test_parts_are_joined_in_order_and_nothing_is_drawn_for_nothing() -> None:
    section = section_of([part("a", "<svg/>", ""), part("b")], rule="r", notes=["last"])
    assert [finding.sentence for finding in section.findings] == ["a", "b"]
    assert [table.caption for table in section.tables] == ["a", "b"]
    assert list(section.figures) == ["<svg/>"]
    assert section.notes == ["a's note", "b's note", "last"] and section.rule == "r"


def test_groups_by_domain_axis_and_metric() -> None:
    order = evidence("data_order")  # all but the reference compare two runs
    assert [[dict(run.axes) for run in runs] for runs in order.runs().values()] == [
        [{"compared": "reference"}]
    ] * 2
    assert list(order.runs()) == list(order.runs("compared")) == ["text", "image"]
    assert order.runs("sequences") == {} == gather(EXPERIMENTS["main"], []).runs()
    compared = order.with_metric("teacher-forced/runs/top1_agreement")
    assert [group.domain for group in compared] == ["text"] * 3 + ["image"] * 3
