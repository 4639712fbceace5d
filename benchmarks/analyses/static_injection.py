"""Does a fixed offset on the logits of the tokens that rose most do what hyperfitting does? (P2)

The offset is estimated on true continuations and tried on prompts of other documents: prompts are
dealt into two halves, and each half is decoded with the offset of the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, flat, of_condition, read_options
from common.agreement import equal_share
from common.decode.methods import greedy_config
from common.errors import UserError
from common.measure.intervals import bootstrap_mean, point
from common.static_injection import StaticInjection, StaticOffset, static_offset

HALVES = (slice(0, None, 2), slice(1, None, 2))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the analysis."""

    strengths: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    """What the offset is multiplied by (P2: 0.01 to 0.5)."""


def static_injection(
    run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]
) -> Measured:
    """The original decoded greedily with the offset added, at several strengths.

    Metrics: "injected-STRENGTH/all/METRIC", the run's "original-greedy" and "hyperfitted-greedy",
    "tokens_injected" (K) and "mean_offset" in logits. Series "by_strength": the type-token ratio,
    rep-4 and the share of tokens that the injection left as they were, with strength 0 for the
    original.
    """
    chosen = read_options(Options, options, analysis="static_injection")
    if len(run.truth_PT) < 2 * len(HALVES):
        raise UserError(
            expected="at least 4 prompts, two to estimate on and two to decode",
            got=f"{len(run.truth_PT)}",
            fix="analyse a run with more prompts",
        )
    offsets = _offsets(run)
    before_PM = np.stack(run.sampled("original-greedy"))
    shown = (run.domain.ttr_name, "rep_4")
    injected = [offset.offsets_K.mean().item() for offset in offsets]
    metrics = {
        "tokens_injected": point(len(offsets[0].tokens_K), len(before_PM)),
        "mean_offset": point(float(np.mean(injected)), len(before_PM)),
    }
    for condition in ("original-greedy", "hyperfitted-greedy"):
        metrics |= of_condition(condition, run.measured(condition))
    start = {name: run.measured("original-greedy")[name] for name in shown}
    start["equal_share"] = bootstrap_mean(equal_share(before_PM, before_PM))
    series = [{"strength": 0.0, **flat(start)}]
    for strength in chosen.strengths:
        texts = _injected(run, offsets, strength)
        scores = run.score(f"injected-{strength:g}", texts, judge=False)
        scores["equal_share"] = bootstrap_mean(equal_share(np.stack(texts), before_PM))
        metrics |= of_condition(f"injected-{strength:g}", scores)
        record = {name: scores[name] for name in (*shown, "equal_share")}
        series.append({"strength": strength, **flat(record)})
    return Measured(metrics=metrics, series={"by_strength": series})


def _offsets(run: FinishedRun) -> list[StaticOffset]:
    """The offset of each half of the prompts."""
    return [
        static_offset(*(run.scores(model, run.truth_PT[half]) for model in run.models().values()))
        for half in HALVES
    ]


def _injected(run: FinishedRun, offsets: list[StaticOffset], strength: float) -> list[np.ndarray]:
    """P greedy continuations of the original, each half with the other half's offset."""
    texts: list[Any] = [None] * len(run.truth_PT)
    for half, offset in zip(HALVES, reversed(offsets), strict=True):
        texts[half] = run.generate(
            run.original,
            greedy_config(),
            prompts_PC=run.prompts.ids_PC[half],
            processors=[StaticInjection(offset, strength)],
        )
    return texts
