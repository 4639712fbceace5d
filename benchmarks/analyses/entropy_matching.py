"""Is hyperfitting a lower temperature? (P2's control, and the version that can answer it)

The original's scores are divided by the T at which its mean entropy on held-out continuations is
the hyperfitted model's. Greedy decoding cannot tell the two apart from T = 1, so the original is
sampled at that T and the hyperfitted model at 1; and the other way round, the hyperfitted model at
the T that gives it the original's entropy, beside the original at 1.
"""

from __future__ import annotations

from typing import Any

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, of_condition, read_options
from common.agreement import equal_share, top1_tokens
from common.decode.methods import sampling_config
from common.entropy_matching import entropy_at, match_entropy
from common.measure.intervals import bootstrap_mean, point
from common.next_scores import KeptScores

STAGES = ("original", "hyperfitted")


def entropy_matching(
    run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]
) -> Measured:
    """Both models at equal entropy.

    Metrics: "entropy_nats/STAGE" and "entropy_nats/STAGE-matched"; "temperature/STAGE", at which a
    stage has the other's entropy, and "difference_nats/STAGE", what remains; "top1_agreement" of
    both, teacher-forced, which no temperature moves; and "CONDITION/all/METRIC" for greedy decoding
    ("STAGE-greedy"), for sampling at 1 ("STAGE-at-1") and at the temperature found
    ("STAGE-at-matched").
    """
    read_options(NoOptions, options, analysis="entropy_matching")
    models = run.models()
    scores = {
        stage: KeptScores(
            models[stage], run.truth_PT, first=run.first, processors=run.domain.processors()
        )
        for stage in STAGES
    }
    plain = {stage: entropy_at(scores[stage], temperature=1.0) for stage in STAGES}
    tops = [top1_tokens(scores[stage]) for stage in STAGES]
    metrics = {"top1_agreement": bootstrap_mean(equal_share(*tops))}
    for stage, rival in zip(STAGES, reversed(STAGES), strict=True):
        target = plain[rival].mean_nats
        matched = match_entropy(scores[stage], target_nats=target)
        prompts = len(run.truth_PT)
        metrics |= {
            f"entropy_nats/{stage}": bootstrap_mean(plain[stage].nats_N),
            f"entropy_nats/{stage}-matched": bootstrap_mean(matched.nats_N),
            f"temperature/{stage}": point(matched.temperature, prompts),
            f"difference_nats/{stage}": point(matched.mean_nats - target, prompts),
        }
        metrics |= of_condition(f"{stage}-greedy", run.measured(f"{stage}-greedy"))
        for name, temperature in {"at-1": 1.0, "at-matched": matched.temperature}.items():
            method = sampling_config(top_p=1.0, temperature=temperature, top_k=0)
            condition = f"{stage}-{name}"
            texts = run.generate(models[stage], method)
            metrics |= of_condition(condition, run.score(condition, texts, judge=True))
    return Measured(metrics=metrics)
