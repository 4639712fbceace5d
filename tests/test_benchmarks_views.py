"""How values over seeds are judged, and that every view says what its numbers mean."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
from fake_cells import around, fake_cells

from benchmarks.cells import Cell
from benchmarks.experiments import Experiment
from benchmarks.loading import load_experiments
from benchmarks.views import VIEWS, show
from benchmarks.views.draw import band, seed_curves
from benchmarks.views.groups import Evidence, Value, gather, is_above, over_seeds, ratio
from benchmarks.views.learning_curve import loss_at_half
from benchmarks.views.section import Section, TableRow, Verdict, judge, make_table
from benchmarks.views.words import decimals, number, share, told
from common.errors import UserError
from common.intervals import Interval, point

EXPERIMENTS = {experiment.name: experiment for experiment in load_experiments()}


def evidence(name: str, profile: str = "quick") -> Evidence:
    experiment = EXPERIMENTS[name]
    return gather(experiment, fake_cells([experiment], profile))


def changed(name: str, change: Callable[[Cell, dict[str, Interval]], None]) -> Section:
    """The section of an experiment whose metrics were changed in place."""
    cells = []
    for cell in fake_cells([EXPERIMENTS[name]], "quick"):
        metrics = dict(cell.metrics)
        change(cell, metrics)
        cells.append(dataclasses.replace(cell, metrics=metrics))
    return show(gather(EXPERIMENTS[name], cells))


def verdicts(section: Section) -> dict[str, Verdict]:
    return {finding.domain: finding.verdict for finding in section.findings}


def value(mean: float, low: float | None = None, high: float | None = None) -> Value:
    return over_seeds([Interval(mean, low, high, 10)])


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


def test_a_number_without_interval_decides_only_over_seeds() -> None:
    low = value(1.0)
    assert low.low is None and is_above(value(5.0), low) is None
    lows, highs = over_seeds([point(1.0, 5), point(2.0, 5)]), over_seeds([point(3.0, 5)] * 2)
    assert is_above(highs, lows) is True and is_above(lows, highs) is False


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
    section = changed(name, lambda cell, metrics: metrics.clear())
    assert {f.domain for f in section.findings} in ({"text", "image"}, {"both"})
    for finding in section.findings:
        assert finding.verdict is Verdict.NOT_MEASURED
        assert "not measured: " in finding.sentence


@pytest.mark.parametrize("name", list(EXPERIMENTS))
@pytest.mark.parametrize("kept", [1, 3, 12])
def test_a_few_measures_are_shown_without_the_others(name: str, kept: int) -> None:
    def only_a_few(cell: Cell, metrics: dict[str, Interval]) -> None:
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


def set_to(name: str, mean: float) -> Callable[[Cell, dict[str, Interval]], None]:
    """Give a metric of every cell that has it another value."""

    def change(cell: Cell, metrics: dict[str, Interval]) -> None:
        for metric in metrics:
            if metric.replace("code_ttr", "TTR").replace("ttr_96", "TTR") == name:
                metrics[metric] = Interval(mean, mean * 0.99, mean * 1.01, 160)

    return change


def of(axis: str, wanted: Any, change: Callable[..., None]) -> Callable[..., None]:
    """The change for cells with this value of an axis alone."""

    def only(cell: Cell, metrics: dict[str, Interval]) -> None:
        if cell.axes.get(axis) == wanted:
            change(cell, metrics)

    return only


GREEDY = "hyperfitted-greedy/all/TTR"
AGREEMENT = "teacher-forced/runs/top1_agreement"
OPPOSITES = {
    "main": set_to(GREEDY, 0.1),
    "learning_curve": set_to("early-stopped-greedy/all/TTR", 0.9),
    "sharpness": set_to("probe/hyperfitted/entropy_nats", 9.0),
    "copying": set_to("hyperfitted-greedy/all/overlap_over_10", 0.3),
    "data_order": of("compared", "other rounding", set_to(AGREEMENT, 0.3)),
    "data_source": of("source", "news", set_to(GREEDY, 0.1)),
    "data_quantity": of("sequences", 8, set_to(GREEDY, 0.95)),
    "entropy_matching": set_to("original-at-matched/all/TTR", 0.9),
    "static_injection": set_to("injected-0.1/all/TTR", 0.9),
    "rank_shift": set_to("hyperfitted-path/far_share", 0.01),
    "geometry": set_to("last-block/dimension_change", -9.0),
    "where_to_tune": of("tune", "first:3", set_to(GREEDY, 0.95)),
    "longer": of("times", 10, set_to(GREEDY, 0.95)),
}
"""For each experiment that tests a claim, what would speak against it."""
UNCLEAR = {
    "main": set_to("original-greedy/all/TTR", 0.64),
    "learning_curve": set_to("early-stopped-greedy/all/TTR", 0.64),
    "copying": set_to("hyperfitted-greedy/all/overlap_over_10", 0.02),
    "entropy_matching": set_to("original-at-matched/all/TTR", 0.69),
    "static_injection": set_to("injected-0.1/all/TTR", 0.64),
}


@pytest.mark.parametrize("name", list(OPPOSITES))
def test_numbers_against_the_claim_contradict_it(name: str) -> None:
    section = changed(name, OPPOSITES[name])
    assert verdicts(section)["text"] is Verdict.CONTRADICTS
    images = Verdict.CONTRADICTS if name == "main" else Verdict.NO_COUNTERPART
    assert verdicts(section)["image"] is images


@pytest.mark.parametrize("name", list(UNCLEAR))
def test_numbers_that_cannot_be_told_apart_leave_it_open(name: str) -> None:
    assert verdicts(changed(name, UNCLEAR[name]))["text"] is Verdict.UNDECIDED


def test_a_sentence_is_made_of_the_measured_numbers() -> None:
    section = changed("copying", set_to("hyperfitted-greedy/all/overlap_over_10", 0.3217))
    text = next(f.sentence for f in section.findings if f.domain == "text")
    assert text.startswith("Text: 32.2\u00a0% [31.8,\u00a032.5] of the hyperfitted")


Change = Callable[[Cell, dict[str, Interval]], None]


def rival(likeness: float, fid: float | None = None, otherwise: float | None = None) -> Change:
    """A rival of the highest type-token ratio, as like the truth as that; on the hyperfitted
    model's states `otherwise`."""

    def change(cell: Cell, metrics: dict[str, Interval]) -> None:
        set_to("original-min-p/all/TTR", 0.99)(cell, metrics)
        for which in ("", "_min", "_max"):
            set_to(f"original-min-p/all/mauve{which}[original]", likeness)(cell, metrics)
            name = f"original-min-p/all/mauve{which}[hyperfitted]"
            set_to(name, likeness if otherwise is None else otherwise)(cell, metrics)
        if fid is not None:
            metrics["original-min-p/all/fid[cifar-net]"] = Interval(fid, fid, fid, 9)
            metrics["hyperfitted-greedy/all/fid[cifar-net]"] = Interval(1.0, 0.9, 1.1, 9)

    return change


BEHIND = "behind it in diversity or likeness: top-p, top-p at T 1, min-p"


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        (rival(0.3), Verdict.AGREES, BEHIND),
        (rival(0.64), Verdict.UNDECIDED, "not clearly behind in either: min-p with 0.990"),
        (rival(0.9), Verdict.CONTRADICTS, "ahead of it in both: min-p with 0.990"),
        (rival(0.9, fid=0.5), Verdict.CONTRADICTS, "FID 0.500"),
        (rival(0.9, fid=2.0), Verdict.UNDECIDED, "not clearly behind in either: min-p"),
        (rival(0.64, fid=2.0), Verdict.AGREES, BEHIND),
        (rival(0.9, otherwise=0.3), Verdict.UNDECIDED, "MAUVE [hyperfitted] 0.300"),
        (rival(0.64, otherwise=0.3), Verdict.AGREES, BEHIND),
    ],
)
def test_a_rival_counts_by_diversity_and_by_likeness(
    change: Change, verdict: Verdict, words: str
) -> None:
    section = changed("rivals", change)
    assert set(verdicts(section).values()) == {verdict}
    assert all(words in finding.sentence for finding in section.findings)


def test_rivals_that_are_behind_leave_the_claim_standing() -> None:
    assert set(verdicts(VIEWS["rivals"](evidence("rivals"))).values()) == {Verdict.AGREES}


def test_rivals_show_mauve_of_both_models() -> None:
    section = show(evidence("rivals"))
    assert section.tables[0].columns[-2:] == ["MAUVE [original]", "MAUVE [hyperfitted]"]
    assert any("of the original and the hyperfitted models" in note for note in section.notes)


def test_rivals_tell_their_settings_as_recorded() -> None:
    notes = show(evidence("rivals")).notes
    assert "Text: greedy is greedy of 1; top-p is top-p of 1; top-p at T 1 is" in notes[0]


def test_domains_that_move_opposite_ways_contradict_one_phenomenon() -> None:
    def flip(cell: Cell, metrics: dict[str, Interval]) -> None:
        if cell.domain == "image" and not cell.axes:
            set_to("probe/hyperfitted/entropy_nats", 9.0)(cell, metrics)

    section = changed("domains", flip)
    assert verdicts(section) == {"both": Verdict.CONTRADICTS}
    assert "opposite ways: held-out entropy (nats)" in section.findings[0].sentence


def test_an_early_stop_before_the_first_update_is_told() -> None:
    def alike(cell: Cell, metrics: dict[str, Interval]) -> None:
        set_to("probe/original/loss_nats", 3.5)(cell, metrics)
        set_to("probe/early-stopped/loss_nats", 3.5)(cell, metrics)

    told = "lowest validation loss, which is the original's, "
    assert all(
        told not in f.sentence for f in VIEWS["learning_curve"](evidence("learning_curve")).findings
    )
    assert all(told in f.sentence for f in changed("learning_curve", alike).findings)


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
    told = [finding.sentence.partition("the effective")[0] for finding in section.findings]
    assert told == ["Text: ", "Text: all blocks tuned: ", "Images: "]
    captions = [table.caption for table in section.tables]
    assert "Text, all blocks tuned, states at" in captions and "Text, states at" in captions


def test_every_experiment_has_a_view_and_every_view_an_experiment() -> None:
    assert list(VIEWS) == list(EXPERIMENTS)
    assert all(isinstance(experiment, Experiment) for experiment in EXPERIMENTS.values())


# Words


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0.2, 0.9), 3), ((4.2,), 2), ((99.9, 3.1), 1), ((1801.4,), 0), ((8.0, 19.0), 0), ((), 3)],
)
def test_a_column_has_one_number_of_decimals(values: tuple[float, ...], expected: int) -> None:
    assert decimals(values) == expected


def test_numbers_in_words() -> None:
    assert number(1801.4) == "1,801" and number(0.0) == "0.000" and number(3.0) == "3"
    assert told(value(4.234, 4.0, 4.5)) == "4.23 [4.00,\u00a04.50]"
    assert told(value(1.0, 0.9, 1.0)) == "1.000 [0.900,\u00a01.000]"
    assert told(value(19.0)) == "19" and share(value(0.1)) == "10.0\u00a0%"


def test_a_table_names_the_columns_that_nobody_measured() -> None:
    there = over_seeds([around(0.5, random.Random(0))])
    rows = [TableRow(label="a", cells=[there, None]), TableRow(label="b", cells=[None, None])]
    table = make_table("t", ["x", "y"], rows)
    assert table.columns == ["x"] and table.missing == ["y"]
    assert [row.cells for row in table.rows] == [[there], [None]]
