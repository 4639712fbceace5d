"""How values over seeds are judged, and that every view says what its numbers mean."""

from __future__ import annotations

import dataclasses
import random

import pytest
from fake_cells import around, fake_cells
from fake_evidence import EXPERIMENTS, Metrics, at, changed, evidence, set_to, value

from benchmarks.evidence.draw import band, seed_curves
from benchmarks.evidence.over_seeds import (
    Value,
    gather,
    is_above,
    is_above_level,
    opposite,
    over_seeds,
    ratio,
)
from benchmarks.evidence.section import TableRow, Verdict, judge, make_table
from benchmarks.evidence.words import decimals, number, share, shown
from benchmarks.experiments import VIEWS, show
from benchmarks.experiments.learning_curve import loss_at_half
from benchmarks.suite.cells import Cell
from benchmarks.suite.experiment import Experiment
from common.errors import UserError
from common.measure.intervals import Interval, point

# Values and what decides


def test_one_seed_shows_its_own_interval() -> None:
    one = value(0.5, 0.4, 0.6)
    assert (one.mean, one.low, one.high, one.sure_low, one.sure_high) == (0.5, 0.4, 0.6, 0.4, 0.6)


def test_seeds_show_their_range_and_decide_by_all_their_intervals() -> None:
    seeds = [Interval(0.4, 0.3, 0.5, 9), Interval(0.6, 0.45, 0.7, 8), Interval(0.5, 0.4, 0.65, 10)]
    several = over_seeds(seeds)
    assert several.mean == pytest.approx(0.5)
    assert (several.low, several.high) == (0.4, 0.6)
    assert (several.sure_low, several.sure_high) == (0.3, 0.7)
    assert (several.n, several.seeds) == (8, 3)


def test_a_number_without_sampling_interval_decides_nothing_however_many_seeds_there_are() -> None:
    low = value(1.0)
    assert low.low is None and is_above(value(5.0), low) is None
    lows, highs = over_seeds([point(1.0, 5), point(2.0, 5)]), over_seeds([point(3.0, 5)] * 2)
    assert (lows.low, lows.high) == (1.0, 2.0)  # the range is shown
    assert is_above(highs, lows) is None and is_above(lows, highs) is None
    assert is_above_level(highs, 0.0) is None
    one_lacks_it = over_seeds([Interval(3.0, 2.9, 3.1, 5), point(3.0, 5)])
    assert is_above(one_lacks_it, value(1.0, 0.9, 1.1)) is None


def test_fid_mauve_and_maxima_decide_nothing_in_any_cell() -> None:
    groups = evidence("rivals", "full").groups + evidence("main", "full").groups
    names = {n.rpartition("/")[2] for g in groups for cell in g.cells for n in cell.metrics}
    bare = {n for n in names if n.startswith(("fid[", "kid[", "mauve", "overlap_max"))}
    assert len(bare) >= 7
    for group in groups:
        for name in (n for cell in group.cells for n in cell.metrics):
            measured = group.value(name)
            assert measured is not None
            if name.rpartition("/")[2] in bare:
                assert is_above_level(measured, -1.0) is None, name


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.61, 0.8, True), (0.6, 0.8, None), (0.1, 0.39, False), (0.1, 0.5, None)],
)
def test_touching_intervals_are_undecided(low: float, high: float, expected: bool | None) -> None:
    assert is_above(value((low + high) / 2, low, high), value(0.5, 0.4, 0.6)) is expected


def test_a_ratio_takes_the_widest_interval() -> None:
    quotient = ratio(value(2.0, 1.0, 3.0), value(4.0, 2.0, 5.0))
    assert quotient is not None
    assert (quotient.mean, quotient.low, quotient.high) == (0.5, 0.2, 1.5)
    assert ratio(value(2.0, 1.0, 3.0), value(0.1, 0.0, 0.2)) is None


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ([True, True], Verdict.AGREES),
        ([True, None], Verdict.UNDECIDED),
        ([None, False], Verdict.CONTRADICTS),
    ],
)
def test_one_opposite_part_contradicts_and_one_unclear_part_leaves_open(
    claims: list[bool | None], verdict: Verdict
) -> None:
    assert judge(claims) is verdict


def test_what_cannot_be_told_has_no_opposite() -> None:
    assert [opposite(one) for one in (True, False, None)] == [False, True, None]


# Groups


def test_cells_of_all_seeds_are_one_group_text_first() -> None:
    groups = evidence("data_source", "full").groups
    assert [group.domain for group in groups] == ["text"] * 3 + ["image"] * 2
    assert all([cell.seed for cell in group.cells] == [0, 1, 2] for group in groups)


def test_seeds_that_differ_in_more_than_the_seed_are_refused_by_name() -> None:
    cells = fake_cells([EXPERIMENTS["copying"]], "full")
    odd = dataclasses.replace(cells[1], config={**cells[1].config, "train.tune": "all"})
    with pytest.raises(UserError, match=r"text-seed0 and text-seed1 differing in train\.tune"):
        gather(EXPERIMENTS["copying"], [cells[0], odd, *cells[2:]])


def test_one_seed_twice_is_refused() -> None:
    cells = fake_cells([EXPERIMENTS["copying"]], "quick")
    twin = dataclasses.replace(cells[0], cell="text-again-seed0")
    with pytest.raises(UserError, match="text-seed0 and text-again-seed0, both of seed 0"):
        gather(EXPERIMENTS["copying"], [*cells, twin])


def test_a_band_holds_mean_and_range_of_every_place_that_all_seeds_have() -> None:
    group = evidence("rank_shift", "full").groups[0]
    for cell in group.cells:
        records = [{"position": i, "y": i + cell.seed, "side": "a"} for i in range(3 + cell.seed)]
        cell.series["by_position"] = [*records, {"position": 9, "y": 5.0, "side": "b"}]
    drawn = band(group, "by_position", "position", "y", label="l", colour=0, side="a")
    assert drawn.points == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert drawn.intervals == [(0, 0, 2), (1, 1, 3), (2, 2, 4)]


def test_with_one_seed_a_band_is_its_recorded_interval() -> None:
    group = evidence("geometry").groups[0]
    drawn = band(group, "by_layer", "relative_depth", "l2", label="l", colour=0, after_norm=False)
    first = group.cells[0].series["by_layer"][0]
    assert drawn.points[0] == (first["relative_depth"], first["l2"])
    assert drawn.intervals[0] == (first["relative_depth"], first["l2_low"], first["l2_high"])
    assert len(drawn.points) == len(group.cells[0].series["by_layer"]) - 1


def test_a_curve_per_seed_is_labelled_once_and_skips_what_is_missing() -> None:
    group = evidence("learning_curve", "full").groups[0]
    lines = seed_curves(group, "train_loss", "ttr_96", label="TTR", colour=1)
    assert [line.label for line in lines] == ["TTR", "", ""]
    assert len(lines[0].points) == len(group.cells[0].series["curve"]) - 1


def test_the_loss_at_half_of_the_gain() -> None:
    ttrs = [0.2, 0.3, 0.41, 0.6, 0.6]
    losses = [None, 3.0, 2.0, 1.0, 0.5]
    records = [{"ttr_96": t, "train_loss": loss} for t, loss in zip(ttrs, losses, strict=True)]
    assert loss_at_half(records, "ttr_96") == 2.0
    assert loss_at_half(records[:1] * 3, "ttr_96") is None
    assert loss_at_half([{"update": 0}], "ttr_96") is None


# Views


@pytest.mark.parametrize("name", list(EXPERIMENTS))
@pytest.mark.parametrize("profile", ["quick", "small", "full"])
def test_every_view_has_findings_figures_and_numbers(name: str, profile: str) -> None:
    section = show(evidence(name, profile))
    assert {f.domain for f in section.findings} in ({"text", "image"}, {"both"})
    assert all(f.verdict is not Verdict.NOT_MEASURED for f in section.findings)
    assert all(figure.startswith("<svg") for figure in section.figures) and section.figures
    assert section.tables and not any(table.missing for table in section.tables)
    assert all(len(row.cells) == len(t.columns) for t in section.tables for row in t.rows)


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_what_was_not_measured_is_said_and_never_a_crash(name: str) -> None:
    section = changed(name, lambda _, metrics: metrics.clear())
    assert {f.domain for f in section.findings} in ({"text", "image"}, {"both"})
    for finding in section.findings:
        assert finding.verdict is Verdict.NOT_MEASURED
        assert "not measured: " in finding.sentence


@pytest.mark.parametrize("name", list(EXPERIMENTS))
@pytest.mark.parametrize("kept", [1, 3, 12])
def test_a_few_measures_are_shown_without_the_others(name: str, kept: int) -> None:
    def only_a_few(cell: Cell, metrics: Metrics) -> None:
        for metric in list(metrics)[kept:]:
            del metrics[metric]

    section = changed(name, only_a_few)
    assert {f.domain for f in section.findings} in ({"text", "image"}, {"both"})
    missing = [f for f in section.findings if f.verdict is Verdict.NOT_MEASURED]
    assert all("not measured: " in finding.sentence for finding in missing)


def test_sources_are_shown_on_the_prompts_of_each() -> None:
    tables = show(evidence("data_source")).tables
    sets = evidence("data_source").groups[0].prompt_sets()
    assert sets[0] == "fiction"
    text, image = ([c for c in table.columns if c.endswith(" prompts")] for table in tables)
    assert text == [f"TTR-96, {name} prompts" for name in sets]
    assert image == []  # one set, which is the pool of all


def test_an_early_stop_before_the_first_update_is_reported() -> None:
    def alike(cell: Cell, metrics: Metrics) -> None:
        set_to("probe/original/loss_nats", 3.5)(cell, metrics)
        set_to("probe/early-stopped/loss_nats", 3.5)(cell, metrics)

    phrase = "lowest validation loss, which is the original's, "
    assert all(
        phrase not in f.sentence
        for f in VIEWS["learning_curve"](evidence("learning_curve")).findings
    )
    assert all(phrase in f.sentence for f in changed("learning_curve", alike).findings)


def test_mauve_is_a_column_with_its_model_named() -> None:
    section = VIEWS["main"](evidence("main"))
    first = section.tables[0]
    assert first.columns[-1] == "MAUVE"
    scores = {row.label: row.cells[-1] for row in first.rows}
    score = scores["hyperfitted greedy"]
    assert isinstance(score, Value) and scores["human text"] is None
    assert (score.low, score.high) == pytest.approx((0.71, 0.77))
    assert is_above(score, over_seeds([Interval(0.1, 0.1, 0.1, 9)])) is None  # it decides nothing
    assert any("of the original model" in note for note in section.notes)


def test_data_order_tells_equal_weights_from_alike_ones() -> None:
    table = VIEWS["data_order"](evidence("data_order")).tables[0]
    assert "weight" in table.columns[-1]
    last = {row.label: row.cells[-1] for row in table.rows}
    assert last["identical repeat"] == "0" and last["other rounding"] == "1e-05"


def test_geometry_says_which_blocks_were_tuned() -> None:
    section = VIEWS["geometry"](evidence("geometry"))
    heads = [
        f.sentence.partition("the effective")[0] for f in section.findings if "L2" in f.sentence
    ]
    assert heads == ["Text: ", "Text: all blocks tuned: ", "Images: "]
    captions = [table.caption for table in section.tables]
    assert "Text, all blocks tuned, states at" in captions and "Text, states at" in captions


def test_every_experiment_has_a_view_and_every_view_an_experiment() -> None:
    assert list(VIEWS) == list(EXPERIMENTS)
    assert all(isinstance(experiment, Experiment) for experiment in EXPERIMENTS.values())


def test_rivals_show_mauve_of_both_models() -> None:
    section = show(evidence("rivals"))
    assert section.tables[0].columns[-2:] == ["MAUVE [original]", "MAUVE [hyperfitted]"]
    assert any("of the original and the hyperfitted models" in note for note in section.notes)


def test_the_agreement_of_orders_is_told_of_both_domains_at_once() -> None:
    change = set_to("teacher-forced/runs/top1_agreement", 0.5)

    def other(cell: Cell, metrics: Metrics) -> None:
        if cell.domain == "image" and cell.axes["compared"] == "other order":
            change(cell, metrics)

    section = changed("data_order", other)
    text, image = (at(section, domain)[0].sentence for domain in ("text", "image"))
    assert "(images: 50.0\u00a0%" in text and "Images: models trained in two orders" in image
    assert "same first choice at 50.0\u00a0%" in image and "(text: " in image


def test_the_note_on_ratios_claims_no_confidence_interval() -> None:
    (note,) = (note for note in show(evidence("domains")).notes if "ratio" in note)
    assert "range over seeds" in note and "no confidence interval" in note
    assert "too wide" not in note
    seeds = [Interval(2.0, 1.0, 3.0, 9), Interval(4.0, 1.0, 5.0, 9)]
    quotient = ratio(over_seeds(seeds), over_seeds([Interval(2.0, 1.0, 3.0, 9)] * 2))
    assert quotient is not None  # from the means of the seeds, not from their intervals
    assert (quotient.low, quotient.high, quotient.sure_low) == (1.0, 2.0, None)


# Words


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0.2, 0.9), 3), ((4.2,), 2), ((99.9, 3.1), 1), ((1801.4,), 0), ((8.0, 19.0), 0), ((), 3)],
)
def test_a_column_has_one_number_of_decimals(values: tuple[float, ...], expected: int) -> None:
    assert decimals(values) == expected


def test_numbers_in_words() -> None:
    assert number(1801.4) == "1,801" and number(0.0) == "0.000" and number(3.0) == "3"
    assert shown(value(4.234, 4.0, 4.5)) == "4.23 [4.00,\u00a04.50]"
    assert shown(value(1.0, 0.9, 1.0)) == "1.000 [0.900,\u00a01.000]"
    assert shown(value(19.0)) == "19" and share(value(0.1)) == "10.0\u00a0%"


def test_a_table_names_the_columns_that_nobody_measured() -> None:
    there = over_seeds([around(0.5, random.Random(0))])
    rows = [TableRow(label="a", cells=[there, None]), TableRow(label="b", cells=[None, None])]
    table = make_table("t", ["x", "y"], rows)
    assert table.columns == ["x"] and table.missing == ["y"]
    assert [row.cells for row in table.rows] == [[there], [None]]
