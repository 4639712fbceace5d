"""Every analysis on tiny finished runs of both domains, held against what must be equal."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import image.run
import text.run
from benchmarks.analyses import ANALYSES, Measured
from benchmarks.analyses.finished_run import FinishedRun
from common.errors import UserError
from common.measure.probe import probe_sequences

DOMAINS = ("text", "image")
FIXED = (
    "--schedule.mode",
    "fixed",
    "--schedule.fixed_updates",
    "8",
    "--measure.curve_prompts",
    "0",
)
TEXT = ("--data.long_new_tokens", "null", "--data.max_prompts", "4")
Run = Callable[[str], FinishedRun]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_checkpoint: Path,
    tiny_image_checkpoint: Path,
    tiny_run: tuple[str, ...],
    tiny_image_run: tuple[str, ...],
) -> Run:
    """A finished run of a domain, made once; not to be changed by a test."""
    made: dict[str, FinishedRun] = {}

    def get(domain: str) -> FinishedRun:
        if domain not in made:
            out = tmp_path_factory.mktemp("runs") / domain
            if domain == "text":
                argv = ["--model", str(tiny_checkpoint), *tiny_run, *TEXT]
                assert text.run.main([*argv, *FIXED, "--out", str(out)]) == 0
            else:
                argv = ["--model", str(tiny_image_checkpoint), *tiny_image_run]
                assert image.run.main([*argv, *FIXED, "--out", str(out)]) == 0
            made[domain] = FinishedRun.open(out)
        return made[domain]

    return get


def check(measured: Measured, prompts: int) -> None:
    """Numbers are numbers, intervals hold their means, records are flat and alike."""
    assert measured.metrics
    for name, value in measured.metrics.items():
        assert math.isfinite(value.mean) and value.n == prompts, name
        assert value.low is None or value.low <= value.mean <= (value.high or 0) + 1e-9, name
    for records in measured.series.values():
        assert records and all(record.keys() == records[0].keys() for record in records)
        for record in records:
            assert all(isinstance(v, (str, int, float, type(None))) for v in record.values())


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_run_agrees_with_itself(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["agreement"](one, one, {})
    new_tokens = one.prompts.new_tokens
    check(measured, len(one.truth_PT))
    of = measured.metrics
    assert of["teacher-forced/runs/top1_agreement"].low == 1.0
    assert of["greedy/runs/equal_share"].mean == 1.0
    assert of["greedy/runs/tokens_until_difference"].mean == new_tokens
    assert of["greedy/original/equal_share"] == of["greedy/other-original/equal_share"]
    assert of["greedy/original/equal_share"].mean < 1.0
    columns = measured.series["by_position"]
    assert [record["position"] for record in columns] == list(range(new_tokens))
    for name in ("teacher_forced", "greedy"):
        mean = np.mean([record[f"{name}_original"] for record in columns])
        metric = "top1_agreement" if name == "teacher_forced" else "equal_share"
        path = name.replace("_", "-")
        assert mean == pytest.approx(of[f"{path}/original/{metric}"].mean)


def test_agreement_needs_another_run_with_the_same_prompts(run: Run) -> None:
    with pytest.raises(UserError, match="a run to compare with"):
        ANALYSES["agreement"](run("text"), None, {})
    with pytest.raises(UserError, match="one data configuration"):
        ANALYSES["agreement"](run("text"), run("image"), {})


@pytest.mark.parametrize("domain", DOMAINS)
def test_rank_shift_agrees_with_agreement(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["rank_shift"](one, None, {})
    check(measured, len(one.truth_PT))
    of = measured.metrics
    alike = ANALYSES["agreement"](one, one, {}).metrics["teacher-forced/original/top1_agreement"]
    assert of["true-path/shifted_share"].mean == pytest.approx(1 - alike.mean)
    # Both write the same up to the first choice that differs.
    assert (of["original-path/shifted_share"].mean > 0) == (
        of["hyperfitted-path/shifted_share"].mean > 0
    )
    for path in ("hyperfitted-path", "true-path"):
        assert of[f"{path}/far_share"].mean <= of[f"{path}/shifted_share"].mean
        columns = [r[f"{path.replace('-', '_')}_far_share"] for r in measured.series["by_position"]]
        assert np.mean(columns) == pytest.approx(of[f"{path}/far_share"].mean)


@pytest.mark.parametrize("domain", DOMAINS)
def test_entropies_are_matched(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["entropy_matching"](one, None, {})
    check(measured, len(one.truth_PT))
    of = measured.metrics
    for stage, rival in (("original", "hyperfitted"), ("hyperfitted", "original")):
        gap = of[f"entropy_nats/{stage}-matched"].mean - of[f"entropy_nats/{rival}"].mean
        assert abs(gap) <= 1e-3
        assert gap == pytest.approx(of[f"difference_nats/{stage}"].mean)
        greedy = one.measured(f"{stage}-greedy")
        assert of[f"{stage}-greedy/all/rep_2"] == greedy["rep_2"]
        assert f"{stage}-at-matched/all/{one.domain.ttr_name}" in of
    sharper = of["entropy_nats/hyperfitted"].mean < of["entropy_nats/original"].mean
    assert sharper == (of["temperature/original"].mean < 1)
    if domain == "text":  # no token is forbidden there, so the probe sees the same
        probe = one.metrics["probe"]["hyperfitted"]["entropy_nats"]
        assert of["entropy_nats/hyperfitted"].mean == pytest.approx(probe, abs=1e-4)


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_injection_of_strength_zero_does_nothing(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["static_injection"](one, None, {"strengths": [0.0, 20.0]})
    check(measured, len(one.truth_PT))
    of, name = measured.metrics, one.domain.ttr_name
    assert of["injected-0/all/equal_share"].low == 1.0
    assert of[f"injected-0/all/{name}"] == one.measured("original-greedy")[name]
    assert of["injected-20/all/equal_share"].mean < 1.0
    vocabulary = one.original.config.vocab_size
    assert of["tokens_injected"].mean == vocabulary // 4
    assert [record["strength"] for record in measured.series["by_strength"]] == [0, 0, 20]


@pytest.mark.parametrize("domain", DOMAINS)
def test_geometry_has_every_layer_and_the_norm(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["geometry"](one, None, {})
    check(measured, len(one.truth_PT))
    layers = measured.series["by_layer"]
    assert [layer["layer"] for layer in layers] == ["block 1", "block 2", "after the final norm"]
    assert [layer["after_norm"] for layer in layers] == [False, False, True]
    assert layers[1]["l2"] == measured.metrics["last-block/l2"].mean > 0
    width = one.original.config.hidden_size
    for layer in layers:
        assert 1 <= layer["dimension_original"] <= width
        assert layer["dimension_original_low"] <= layer["dimension_original"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_rivals_quote_what_the_run_has_and_make_the_rest(run: Run, domain: str) -> None:
    one = run(domain)
    measured = ANALYSES["rivals"](one, None, {})
    check(measured, len(one.truth_PT))
    of = measured.metrics
    sampled = "top-p" if domain == "text" else "sampled"
    for condition, quoted in (
        ("original-greedy", "original-greedy"),
        ("original-repetition-penalty", "original-repetition-penalty"),
        ("hyperfitted-top-p", f"hyperfitted-{sampled}"),
    ):
        for name, value in one.measured(quoted).items():
            assert of[f"{condition}/all/{name}"] == value
    for stage in ("original", "hyperfitted"):
        assert of[f"{stage}-no-repeat-4-gram/all/rep_4"].mean == 0.0
    assert len(measured.series["by_method"]) == 14
    settings = {r["method"]: r["settings"] for r in measured.series["methods"]}
    assert settings["top-p"] == "top-p 0.9, temperature 0.7, top-k 50" and settings["greedy"] == ""
    assert settings["sampled-t1"] == "temperature 1"
    colder, warmer, plain = (
        [value for metric, value in of.items() if metric.startswith(f"original-{name}/")]
        for name in ("top-p", "top-p-t1", "sampled-t1")
    )
    assert len(colder) == len(warmer) == len(plain)
    assert colder != warmer and warmer != plain
    for model in ("original", "hyperfitted"):
        likeness = ANALYSES["mauve"](one, None, {"seeds": 20, "model": model}).metrics
        for condition in ("original-greedy", "hyperfitted-greedy"):
            name = f"{condition}/all/mauve[{model}]"
            assert of[name] == likeness[name]
    assert "hyperfitted-min-p/all/mauve_max[original]" in of
    if domain == "image":
        assert of["hyperfitted-min-p/all/fid[cifar-net]"].mean > 0


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("model", ["original", "hyperfitted"])
def test_mauve_has_every_condition_and_seed(run: Run, domain: str, model: str) -> None:
    one = run(domain)
    measured = ANALYSES["mauve"](one, None, {"model": model, "seeds": 3})
    check(measured, len(one.truth_PT))
    of, records = measured.metrics, measured.series["by_seed"]
    conditions = [c.name for c in one.domain.conditions() if c.stage != "reference"]
    assert len(of) == 3 * len(conditions) and len(records) == 3 * len(conditions)
    for condition in conditions:
        low, mean, high = (
            of[f"{condition}/all/{name}[{model}]"].mean
            for name in ("mauve_min", "mauve", "mauve_max")
        )
        assert 0 < low <= mean + 1e-12 and mean <= high + 1e-12 and high <= 1 + 1e-12
        scores = [r["mauve"] for r in records if r["condition"] == condition]
        assert (min(scores), max(scores)) == (low, high)


def test_unknown_or_wrong_options_are_reported(run: Run) -> None:
    one = run("text")
    for name, analysis in ANALYSES.items():
        with pytest.raises(UserError, match=f"the analysis {name} knows"):
            analysis(one, one, {"speed": 3})
    with pytest.raises(UserError, match="change analysis_options"):
        ANALYSES["mauve"](one, None, {"seeds": "many"})
    with pytest.raises(UserError, match="analysis_options.seeds"):
        ANALYSES["mauve"](one, None, {"seeds": 0})
    with pytest.raises(UserError, match="methods to be among greedy, top-p"):
        ANALYSES["rivals"](one, None, {"methods": ["greedy", "beam"]})


@pytest.mark.parametrize("name", ["mauve", "static_injection"])
def test_too_few_prompts_are_reported(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run("text")
    monkeypatch.setattr(one, "truth_PT", one.truth_PT[:3])
    with pytest.raises(UserError, match="at least 4 prompts"):
        ANALYSES[name](one, None, {})


def test_held_out_measures_begin_after_the_prompt(run: Run) -> None:
    one = run("image")
    assert one.first == one.prompts.ids_PC.shape[1] == one.domain.first_target
    probed = probe_sequences(one.original, one.truth_PT, batch_size=8, start=one.first)
    assert probed.entropy_nats.mean == pytest.approx(
        one.metrics["probe"]["original"]["entropy_nats"], abs=1e-4
    )
