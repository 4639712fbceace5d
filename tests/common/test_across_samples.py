"""Diversity across samples of one prompt, on a tiny random model, against plain counting."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bleu_reference import sacrebleu_scores
from walk_runs import CONFIG, Walks, run, validate

from common.across_samples import measure_across, sampled_conditions
from common.conditions import standard_conditions
from common.config import MeasureConfig, check_ranges
from common.decode.methods import sampling_config
from common.domain import Condition
from common.errors import UserError
from common.evaluate import Evaluator
from common.measure.diversity import across_metrics
from common.report.names import metric_definition, metric_label
from common.report.page import build_report

T1 = sampling_config(top_p=0.9, temperature=1.0, top_k=0)


class Sampled(Walks):
    def conditions(self) -> list[Condition]:
        return standard_conditions(
            MeasureConfig(), sampled="top-p", at_temperature_1=T1, references=["human"]
        )


def evaluator(max_batch: int | None = None, seed: int = 0) -> Evaluator:
    domain: Any = Sampled()
    return Evaluator(
        domain=domain,
        blocker_match=4,
        probe_batch=4,
        max_batch=max_batch,
        seed=seed,
        autocast=nullcontext,
        report=lambda *_: None,
    )


def naive_distinct(texts: list[np.ndarray], n: int) -> float:
    grams = [tuple(t[i : i + n].tolist()) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams)


def test_metrics_against_sacrebleu_and_sets() -> None:
    rng = np.random.default_rng(0)
    sets = [[rng.integers(size, size=12) for _ in range(4)] for size in (2, 5, 9)]
    found = across_metrics(sets)
    bleu = [
        np.mean(sacrebleu_scores(texts, [texts[:i] + texts[i + 1 :] for i in range(4)], 4))
        for texts in sets
    ]
    assert found["across_self_bleu_4"].mean == pytest.approx(np.mean(bleu), abs=1e-12)
    for n in (2, 3):
        counted = np.mean([naive_distinct(texts, n) for texts in sets])
        assert found[f"across_distinct_{n}"].mean == pytest.approx(counted)
    for name, interval in found.items():
        assert interval.n == 3 and interval.low is not None and interval.high is not None
        assert interval.low < interval.mean < interval.high
        assert "across samples" in metric_label(name) and metric_definition(name)


def test_it_is_within_a_prompt_that_samples_are_compared() -> None:
    one, other = np.arange(20), np.arange(20) + 50
    alike = across_metrics([[one, one], [other, other]])
    assert alike["across_self_bleu_4"].mean == 1.0 and alike["across_distinct_2"].mean == 0.5
    apart = across_metrics([[one, other], [one, other]])
    assert apart["across_self_bleu_4"].mean < 0.1 and apart["across_distinct_2"].mean == 1.0


def test_both_models_are_sampled_with_every_setting() -> None:
    found = {one.name: one for one in sampled_conditions(Sampled().conditions())}
    assert list(found) == [
        "original-top-p",
        "original-top-p-t1",
        "hyperfitted-top-p",
        "hyperfitted-top-p-t1",
    ]
    assert found["hyperfitted-top-p-t1"].method is T1
    assert {name: one.stage for name, one in found.items()} == {n: n.split("-")[0] for n in found}


def test_samples_do_not_depend_on_the_batch_size_but_on_the_seed() -> None:
    def measured(**options: Any) -> Any:
        made = evaluator(**options)
        return measure_across(made, made.domain.model, "original", prompts=5, samples=3)

    whole = measured()
    assert measured(max_batch=2) == whole and measured() == whole
    assert measured(seed=1) != whole
    assert set(whole) == {"original-top-p", "original-top-p-t1"}
    assert {value["n"] for value in whole["original-top-p"].values()} == {5}


def test_a_run_that_asks_for_samples_reports_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walk_runs.Walks", Sampled)
    short = replace(CONFIG.schedule, max_epochs=1)
    asked = replace(CONFIG.measure, samples_per_prompt=2, sample_prompts=4)
    metrics = run(tmp_path / "a", replace(CONFIG, schedule=short, measure=asked))
    validate(metrics)
    across = metrics["across_samples"]
    assert len(across) == 4 and len(metrics["methods"]) == 9
    assert {m["across_self_bleu_4"]["n"] for m in across.values()} == {4}
    page = build_report(tmp_path / "a").read_text()
    assert "Diversity across samples" in page and "hyperfitted, <small>top-p 0.9, T 1<" in page
    assert "against the other samples of its prompt" in page


def test_samples_are_off_by_default_and_checked() -> None:
    assert MeasureConfig().samples_per_prompt == 0
    for wrong in (-1, 1, 1001):
        config = replace(CONFIG, measure=MeasureConfig(samples_per_prompt=wrong))
        with pytest.raises(UserError, match=r"measure\.samples_per_prompt"):
            check_ranges(config, sequences=12)
    with pytest.raises(UserError, match=r"measure\.sample_prompts"):
        check_ranges(replace(CONFIG, measure=MeasureConfig(sample_prompts=0)), sequences=12)
