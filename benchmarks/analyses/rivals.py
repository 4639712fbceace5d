"""Is hyperfitting better than the cures for repetition that need no training?

Both models with every decoding method: greedy, sampling, min-p, repetition penalty and no-repeat
n-grams. MAUVE of each is measured too, since a high type-token ratio alone can be forced.

The nucleus sampling of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) lowers the temperature to
0.7, and min-p does not. So two methods at temperature 1 are added: nucleus sampling, and plain
sampling, which cuts nothing off. Contrastive search is left out: transformers 5 has it only as code
that is fetched from the hub and run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.mauve import AgainstTruth
from benchmarks.analyses.measured import Measured, of_condition, read_options
from common.decode.methods import (
    greedy_config,
    min_p_config,
    no_repeat_ngram_config,
    repetition_penalty_config,
    sampling_config,
    settings,
)
from common.domain import Metrics
from common.tools.options import require

METHODS = {
    "greedy": greedy_config(),
    "top-p": sampling_config(top_p=0.9, temperature=0.7, top_k=50),
    "top-p-t1": sampling_config(top_p=0.9, temperature=1.0, top_k=0),
    "sampled-t1": sampling_config(top_p=1.0, temperature=1.0, top_k=0),
    "min-p": min_p_config(0.05),
    "repetition-penalty": repetition_penalty_config(1.2),
    "no-repeat-4-gram": no_repeat_ngram_config(4),
}
PLAIN = "sampled-t1"
"""Nothing is cut off: what the model has learnt. Not an option, for the cells of before it was
measured are done with the options they have."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the analysis."""

    methods: list[str] = dataclasses.field(default_factory=lambda: list(METHODS))
    """Which of `METHODS`; plain sampling at temperature 1 stands beside them in any case."""
    mauve_models: list[Literal["original", "hyperfitted"]] = dataclasses.field(
        default_factory=lambda: ["original", "hyperfitted"]
    )
    """Whose states MAUVE compares; one model's may favour what that model writes."""
    mauve_seeds: int = 20
    """How many seeds of k-means."""


def rivals(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Every metric of the run for both models and every method, as "STAGE-METHOD/all/METRIC", and
    MAUVE as `mauve_scores` has it, for each model that is asked for.

    Conditions that the run has measured are quoted. Series "by_method": stage, method and the
    domain's main metrics; "methods": method and its settings.

    Raises:
        UserError: fewer than 4 prompts, no seed, or a method that is not known.
    """
    chosen = read_options(Options, options, analysis="rivals")
    known = f"among {', '.join(METHODS)}"
    named = all(name in METHODS for name in chosen.methods)
    rules = [
        ("mauve_seeds", chosen.mauve_seeds, chosen.mauve_seeds >= 1, "at least 1"),
        ("methods", chosen.methods, named, known),
    ]
    require(rules, option="analysis_options.")
    names = list(dict.fromkeys([*chosen.methods, PLAIN]))
    against = [AgainstTruth(run, model, chosen.mauve_seeds) for model in chosen.mauve_models]
    metrics: Metrics = {}
    series = []
    for stage, model in run.models().items():
        for name in names:
            method = METHODS[name]
            measured_as = run.condition_of(stage, method)
            if measured_as is not None:
                texts, scores = run.sampled(measured_as), run.measured(measured_as)
            else:
                texts = run.generate(model, method)
                scores = run.score(f"{stage}-{name}", texts, judge=True)
            metrics |= of_condition(f"{stage}-{name}", scores)
            for one in against:
                likeness = one.summary(one.scores(texts))
                metrics |= of_condition(f"{stage}-{name}", likeness)
            shown = {metric: scores[metric].mean for metric in (*run.domain.main_metrics, "rep_4")}
            series.append({"stage": stage, "method": name, **shown})
    methods = [{"method": name, "settings": settings(METHODS[name])} for name in names]
    return Measured(metrics=metrics, series={"by_method": series, "methods": methods})
