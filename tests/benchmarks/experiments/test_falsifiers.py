"""The falsifiers that the declarations name: each is tested by its view's rule."""

from __future__ import annotations

import pytest
from fake_evidence import GREEDY, Metrics, at, changed, evidence, of, set_to, value

from benchmarks.evidence.section import OUTCOMES, Verdict
from benchmarks.experiments import show
from benchmarks.experiments.geometry import at_half, frozen_blocks, start_of
from benchmarks.experiments.longer import fall_of, has_fallen
from benchmarks.suite.cells import Cell
from common.measure.intervals import point

AGREEMENT = "teacher-forced/runs/top1_agreement"


def test_a_type_token_ratio_is_still_high_above_half_of_the_largest_gain() -> None:
    few = of(set_to(GREEDY, 0.2), sequences=8)
    for ttr, verdict in ((0.5, Verdict.AGREES), (0.3, Verdict.CONTRADICTS)):
        section = changed("data_quantity", few, of(set_to(GREEDY, ttr), sequences=16))
        assert {f.verdict for f in at(section, "text")} == {verdict, Verdict.NEW}


def test_a_grid_without_a_larger_set_cannot_tell_whether_the_ratio_is_still_high() -> None:
    def only_small(cell: Cell, metrics: Metrics) -> None:
        if cell.axes["sequences"] in (64, 128):
            metrics.clear()

    section = changed("data_quantity", of(set_to(GREEDY, 0.4), sequences=8), only_small)
    assert Verdict.UNDECIDED in {f.verdict for f in at(section, "text")}


def curve(*losses: float | None) -> list[dict[str, float | None]]:
    return [{"update": i, "validation_loss": loss} for i, loss in enumerate(losses)]


def test_the_fall_of_a_loss_is_measured_from_its_maximum_against_its_rise() -> None:
    assert fall_of(curve(4.0, 3.0, None, 5.0, 4.5)) == point(0.25, 4)
    assert fall_of(curve(4.0, 3.0, 5.0)) == point(0.0, 3)
    assert fall_of(curve(4.0)) == point(0.0, 1)
    assert fall_of(curve(None)) is None and fall_of([]) is None


@pytest.mark.parametrize(
    ("falls", "expected"),
    [((0.0, 0.1), False), ((0.11, 0.9), True), ((0.0, 0.2), None), ((), None)],
)
def test_a_loss_has_fallen_where_every_seed_says_so(
    falls: tuple[float, ...], expected: bool | None
) -> None:
    assert has_fallen([point(fall, 11) for fall in falls]) is expected


def test_double_descent_contradicts() -> None:
    def descend(cell: Cell, metrics: Metrics) -> None:
        records = cell.series["curve"]
        last = records[-1] | {"validation_loss": records[0]["validation_loss"]}
        cell.series["curve"] = [*records, last]

    usual = at(show(evidence("longer")), "text")[0]
    assert usual.verdict is Verdict.AGREES
    assert "falls back by 0\u00a0% of its rise (over 1 seed of 17 validations)" in usual.sentence
    second = at(changed("longer", of(descend, times=10)), "text")[0]
    assert second.verdict is Verdict.CONTRADICTS and "falls back by 93\u00a0%" in second.sentence


def test_one_seed_that_falls_back_leaves_double_descent_open() -> None:
    def descend(cell: Cell, metrics: Metrics) -> None:
        if cell.seed == 0 and cell.axes["times"] == 10:
            cell.series["curve"] = [*cell.series["curve"], cell.series["curve"][0]]

    loss = at(changed("longer", descend, profile="small"), "text")[0]
    assert loss.verdict is Verdict.UNDECIDED and "falls back by 0 to " in loss.sentence


def test_without_a_curve_the_fall_is_not_measured() -> None:
    loss = at(changed("longer", lambda cell, _: cell.series.clear()), "text")[0]
    assert loss.verdict is Verdict.NOT_MEASURED and "fall of the validation loss" in loss.sentence


def test_an_expansion_starts_where_every_later_block_has_grown() -> None:
    grown, open_, shrunk = value(2.0, 1.0, 3.0), value(0.5, -1.0, 2.0), value(-2.0, -3.0, -1.0)
    assert start_of([shrunk, open_, grown, grown]) == 3
    assert start_of([grown, open_, grown]) == 3
    assert start_of([grown, grown]) == 1
    assert start_of([grown, open_]) is None and start_of([]) is None


def early(cell: Cell, metrics: Metrics) -> None:
    """Every block has grown as much as the last one."""
    for record in cell.series["by_layer"]:
        mean = metrics["last-block/dimension_change"].mean
        record |= {"dimension_change": mean, "dimension_change_low": mean * 0.9}
        record |= {"dimension_change_high": mean * 1.1}


def test_an_expansion_that_starts_early_contradicts_where_all_blocks_were_tuned() -> None:
    late = show(evidence("geometry"))
    tuned = next(f for f in at(late, "text") if f.claim)
    assert tuned.verdict is Verdict.AGREES and "Text: all blocks tuned: " in tuned.sentence
    section = changed("geometry", early)
    tuned = next(f for f in at(section, "text") if f.claim)
    assert tuned.verdict is Verdict.CONTRADICTS
    assert "the growth starts in block 1 of 8" in tuned.sentence
    image = at(section, "image")[0].sentence
    assert "starts in block 1 of 6" in image and OUTCOMES[Verdict.CONTRADICTS] in image


def test_frozen_blocks_are_no_test_of_where_the_expansion_starts() -> None:
    groups = evidence("geometry").groups
    assert [frozen_blocks(group) for group in groups] == [5, 0, 0]
    half = at_half(groups[0])
    assert half is not None and half.mean == 0.0
    frozen = at(show(evidence("geometry")), "text")[0]
    assert frozen.verdict is Verdict.NEW
    assert "late by construction, for the first 5 are frozen" in frozen.sentence


def test_what_is_left_after_the_norm_is_new_here() -> None:
    section = changed("geometry", set_to("after-norm/dimension_change", 5.0))
    after = [f for f in section.findings if "after the final norm" in f.sentence]
    assert len(after) == 3
    assert all(f.verdict is Verdict.NEW and OUTCOMES[Verdict.AGREES] in f.sentence for f in after)


def test_identical_repeats_that_agree_less_are_reported() -> None:
    section = changed("data_order", of(set_to(AGREEMENT, 0.3), compared="other rounding"))
    assert {f.verdict for f in at(section, "text")} == {Verdict.AGREES, Verdict.NEW}
    assert OUTCOMES[Verdict.CONTRADICTS] in at(section, "text")[1].sentence


def test_what_the_blocker_does_to_diversity_is_new_here() -> None:
    section = changed("copying", set_to("hyperfitted-greedy-blocked/all/TTR", 0.2))
    blocker = at(section, "text")[1]
    assert blocker.verdict is Verdict.NEW
    assert (
        "with the blocker, 0.200 [0.198,\u00a00.202], is below the one without" in blocker.sentence
    )


def test_domains_that_move_opposite_ways_are_reported() -> None:
    def flip(cell: Cell, metrics: Metrics) -> None:
        if cell.domain == "image" and not cell.axes:
            set_to("probe/hyperfitted/entropy_nats", 9.0)(cell, metrics)

    (finding,) = changed("domains", flip).findings
    assert finding.verdict is Verdict.NEW and OUTCOMES[Verdict.CONTRADICTS] in finding.sentence
    assert "opposite ways: held-out entropy (nats)" in finding.sentence


# Rivals


def test_a_rival_that_p1_does_not_have_cannot_contradict_it() -> None:
    section = changed("rivals", set_to("original-min-p/all/TTR", 0.99))
    assert [f.verdict for f in at(section, "text")] == [Verdict.AGREES, Verdict.NEW]
    for finding in (at(section, "text")[1], *at(section, "image")):
        ahead = finding.sentence.partition("ahead of it on the original: ")[2].partition(";")[0]
        assert "min-p 0.05, T 1 (0.990" in ahead


def test_rivals_are_ranked_by_the_type_token_ratio_alone() -> None:
    def liked(cell: Cell, metrics: Metrics) -> None:
        for name in list(metrics):
            if name.startswith("original-min-p/all/mauve"):
                metrics[name] = point(0.99, 160)
        if cell.domain == "image":
            metrics["original-min-p/all/fid[cifar-net]"] = point(0.01, 160)

    before, after = (
        [f.sentence.partition("; MAUVE")[0] for f in section.findings]
        for section in (show(evidence("rivals")), changed("rivals", liked))
    )
    assert before == after
    image = at(changed("rivals", liked), "image")[0].sentence
    assert image.count("at best 0.990 [0.990,\u00a00.990] with min-p 0.05, T 1") == 2
    assert "at best 0.010 with min-p 0.05, T 1 (the hyperfitted model with it: " in image


def test_rivals_that_cannot_be_told_apart_are_named_so() -> None:
    section = changed("rivals", set_to("original-min-p/all/TTR", 0.64))
    alike = at(section, "text")[1].sentence.partition("not to be told apart on the original: ")[2]
    assert "min-p 0.05, T 1 (0.640" in alike.partition("; MAUVE")[0]


def test_lora_on_the_last_blocks_tells_the_loss_it_ended_at() -> None:
    change = set_to("training/final_loss", 0.7)
    (claim,) = (
        f
        for f in changed("where_to_tune", of(change, tune="last:3", method="lora")).findings
        if f.claim
    )
    assert "at a final training loss of 0.700" in claim.sentence
