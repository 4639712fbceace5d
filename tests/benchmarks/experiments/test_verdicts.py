"""What the verdicts of the evidence report rest on: claims of the papers, and nothing else.

P1 is Carlsson et al., ICLR 2025, arXiv 2412.04318; P2 is Li et al., ICML
2026, arXiv 2605.22579.
"""

from __future__ import annotations

import pytest
from fake_evidence import COPIED, GREEDY, Change, at, changed, evidence, of, set_to, value

from benchmarks.evidence.copied import by_ttr, copied_clause
from benchmarks.evidence.section import OUTCOMES, Finding, Section, Verdict, settle
from benchmarks.experiments import show

LORA = {"tune": "last:3", "method": "lora"}
CLAIMS = {
    ("main", "text"): ["P1 Table 1"],
    ("learning_curve", "text"): ["P1 Fig. 2"],
    ("sharpness", "text"): ["P1 Table 3"],
    ("copying", "text"): ["P1 Fig. 3"],
    ("data_order", "text"): ["P1 6.1"],
    ("data_quantity", "text"): ["P1 6.3"],
    ("entropy_matching", "text"): ["P2"],
    ("static_injection", "text"): ["P2"],
    ("rank_shift", "text"): ["P2"],
    ("geometry", "text"): ["P2"],
    ("where_to_tune", "text"): ["P2"],
    ("longer", "text"): ["P1 7.2", "P1 Fig. 2"],
    ("rivals", "text"): ["P1 Table 1"],
}
"""All that a paper measured: text alone."""


def verdicts(section: Section, domain: str) -> set[Verdict]:
    return {finding.verdict for finding in at(section, domain)}


@pytest.mark.parametrize(
    "name",
    [*dict.fromkeys(name for name, _ in CLAIMS), "data_source", "domains"],
)
def test_only_what_a_paper_measured_can_agree_or_contradict(name: str) -> None:
    section = show(evidence(name))
    for domain in ("text", "image", "both"):
        claims = [f.claim for f in at(section, domain) if f.claim is not None]
        assert claims == CLAIMS.get((name, domain), [])
    for finding in section.findings:
        assert (finding.verdict is Verdict.NEW) == (finding.claim is None)


def test_a_verdict_without_a_claim_is_our_bug() -> None:
    with pytest.raises(AssertionError):
        Finding(domain="image", verdict=Verdict.AGREES, sentence="Images: x.", claim=None)
    with pytest.raises(AssertionError):
        Finding(domain="text", verdict=Verdict.NEW, sentence="Text: x.", claim="P1")


@pytest.mark.parametrize(
    ("part", "outcome"),
    [(True, Verdict.AGREES), (False, Verdict.CONTRADICTS), (None, Verdict.UNDECIDED)],
)
def test_a_new_finding_carries_its_result_in_the_sentence(
    part: bool | None, outcome: Verdict
) -> None:
    new = settle("image", {}, lambda: ([part], "it is so"), claim=None)
    assert new.verdict is Verdict.NEW and new.heading == "new here"
    assert new.sentence == f"Images: it is so; {OUTCOMES[outcome]}."
    old = settle("text", {}, lambda: ([part], "it is so"), claim="P1 7.2")
    assert old.verdict is outcome and old.heading == f"{outcome} (P1 7.2)"
    assert old.sentence == "Text: it is so."


# What speaks against each claim, and what cannot be decided

ORDERS = {"compared": "other order"}
AGREEMENT = "teacher-forced/runs/top1_agreement"
LARGEST = {"sequences": 64, "budget": "updates"}
OPPOSITES: dict[str, Change] = {
    "main": set_to(GREEDY, 0.1),
    "learning_curve": set_to("early-stopped-greedy/all/TTR", 0.9),
    "sharpness": set_to("probe/hyperfitted/entropy_nats", 9.0),
    "copying": set_to(COPIED, 0.3),
    "data_order": of(set_to(AGREEMENT, 0.95), **ORDERS),
    "data_quantity": of(set_to(GREEDY, 0.95), sequences=8),
    "entropy_matching": set_to("original-at-matched/all/TTR", 0.9),
    "static_injection": set_to("injected-0.1/all/TTR", 0.9),
    "rank_shift": set_to("hyperfitted-path/far_share", 0.01),
    "geometry": set_to("last-block/dimension_change", -9.0),
    "where_to_tune": of(set_to(GREEDY, 0.1), method="lora"),
    "longer": of(set_to(GREEDY, 0.95), times=10),
    "rivals": set_to("original-top-p/all/TTR", 0.95),
}
UNCLEAR: dict[str, Change] = {
    "main": set_to("original-greedy/all/TTR", 0.64),
    "learning_curve": set_to("early-stopped-greedy/all/TTR", 0.64),
    "sharpness": set_to("probe/hyperfitted/loss_nats", 4.23),
    "copying": set_to(COPIED, 0.02),
    "data_order": of(set_to(AGREEMENT, 0.875), **ORDERS),
    "data_quantity": set_to(GREEDY, 0.6),
    "entropy_matching": set_to("original-at-matched/all/TTR", 0.69),
    "static_injection": set_to("injected-0.1/all/TTR", 0.64),
    "rank_shift": set_to("hyperfitted-path/far_share", 0.0645),
    "geometry": set_to("last-block/dimension_change", 1.5, reach=1.5),
    "where_to_tune": of(set_to(GREEDY, 0.23, reach=0.1), method="lora"),
    "longer": set_to(GREEDY, 0.6),
    "rivals": set_to("original-top-p/all/TTR", 0.64),
}


@pytest.mark.parametrize("name", list(OPPOSITES))
def test_numbers_against_the_claim_contradict_it_and_are_told_of_images(name: str) -> None:
    section = changed(name, OPPOSITES[name])
    assert Verdict.CONTRADICTS in verdicts(section, "text")
    assert verdicts(section, "image") == {Verdict.NEW}
    if name != "rivals":  # there the image sentence ranks
        phrase = OUTCOMES[Verdict.CONTRADICTS]
        assert any(phrase in finding.sentence for finding in at(section, "image"))


@pytest.mark.parametrize("name", list(UNCLEAR))
def test_numbers_that_cannot_be_told_apart_leave_it_open(name: str) -> None:
    found = verdicts(changed(name, UNCLEAR[name]), "text")
    assert Verdict.UNDECIDED in found and Verdict.CONTRADICTS not in found


AGREEING: dict[str, list[Change]] = {
    "main": [],
    "learning_curve": [],
    "sharpness": [],
    "copying": [set_to(COPIED, 0.01)],
    "data_order": [],
    "data_quantity": [of(set_to(GREEDY, 0.4), sequences=8)],
    "entropy_matching": [],
    "static_injection": [],
    "rank_shift": [],
    "geometry": [],
    "where_to_tune": [],
    "longer": [of(set_to(GREEDY, 0.5), times=10)],
    "rivals": [],
}


@pytest.mark.parametrize("name", list(AGREEING))
def test_numbers_as_the_papers_have_them_agree(name: str) -> None:
    found = verdicts(changed(name, *AGREEING[name]), "text")
    assert found <= {Verdict.AGREES, Verdict.NEW} and Verdict.AGREES in found


BY_TTR = {
    "main": [],
    "learning_curve": [],
    "data_quantity": AGREEING["data_quantity"],
    "static_injection": [],
    "where_to_tune": [],
    "longer": AGREEING["longer"],
    "rivals": [],
}


@pytest.mark.parametrize("name", list(BY_TTR))
@pytest.mark.parametrize("against", [False, True])
def test_a_verdict_does_not_rest_on_the_variety_of_copies(name: str, against: bool) -> None:
    numbers = [OPPOSITES[name]] if against else BY_TTR[name]
    section = changed(name, *numbers, set_to(COPIED, 0.9))
    assert Verdict.UNDECIDED in verdicts(section, "text")
    assert not {f.verdict for f in at(section, "text")} & {Verdict.CONTRADICTS}
    open_ones = [f for f in section.findings if f.verdict is Verdict.UNDECIDED]
    assert all("90.0\u00a0%" in f.sentence for f in open_ones)
    assert all("the type-token ratio decides nothing" in f.sentence for f in open_ones)


@pytest.mark.parametrize("name", ["data_source", "where_to_tune", "domains"])
def test_new_findings_tell_copies_too(name: str) -> None:
    section = changed(name, set_to(COPIED, 0.9))
    assert all(
        "where most continuations are copies (90.0\u00a0%" in f.sentence for f in section.findings
    )
    assert "where most continuations are copies" not in str(show(evidence(name)).findings)


def test_sampled_continuations_that_are_copied_decide_nothing_either() -> None:
    section = changed("entropy_matching", set_to("hyperfitted-at-1/all/overlap_over_10", 0.6))
    assert verdicts(section, "text") == {Verdict.UNDECIDED, Verdict.NEW}


def test_half_of_the_continuations_are_not_most_of_them() -> None:
    half, more = value(0.5, 0.4, 0.6), value(0.51, 0.4, 0.6)
    assert by_ttr(True, half) is True and by_ttr(False, half) is False
    assert by_ttr(True, half, more) is None and by_ttr(False, more) is None
    assert copied_clause({"here": half}) == ""
    clause = copied_clause({"here": half, "there": more})
    assert "(51.0\u00a0% [40.0,\u00a060.0] there hold" in clause
