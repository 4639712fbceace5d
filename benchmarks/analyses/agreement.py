"""Do two runs on one training set end in one model?

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), section 6.1, hyperfits on one set in two orders
and finds that the models share 68 to 75 % of their top-1 predictions. It lacks the control: the
same measure between two identical runs. Each hyperfitted model is also compared with the original,
since two models that changed little agree for that reason.

Teacher-forced agreement compares the predictions of both models after the same prefixes. Agreement
of greedy continuations compares what they write. There one difference changes all that follows, so
the number of tokens before the first difference is measured too.

Shapes: N sequences with L decisions in each, B per batch, V vocabulary, P continuations of M
tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, read_options
from common.errors import UserError
from common.measure.intervals import bootstrap_mean, point

# What is compared with what; "other" is the hyperfitted model of the other run.
PAIRS = {
    "runs": ("hyperfitted", "other"),
    "original": ("hyperfitted", "original"),
    "other-original": ("other", "original"),
}


def agreement(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Top-1 agreement of two runs' hyperfitted models, teacher-forced and of what they write.

    Metrics, for each of `PAIRS`: "teacher-forced/PAIR/top1_agreement" on true continuations,
    "greedy/PAIR/equal_share" of tokens at equal positions,
    "greedy/PAIR/tokens_until_difference" and "weights/PAIR/largest_difference" between equal
    weights, which is 0 only for identical runs. Series "by_position": both shares at each
    new token.

    Raises:
        UserError: no other run, or one with other prompts.
    """
    read_options(NoOptions, options, analysis="agreement")
    if other is None:
        raise UserError(
            expected="a run to compare with", got="none", fix="name one under `against`"
        )
    if not torch.equal(run.truth_PT, other.truth_PT):
        raise UserError(
            expected=f"the prompts of {run.folder.path} in {other.folder.path}",
            got="others",
            fix="compare runs of one data configuration",
        )
    models = run.models() | {"other": other.hyperfitted}
    forced = {name: top1_tokens(run.scores(model, run.truth_PT)) for name, model in models.items()}
    written = {
        "original": np.stack(run.sampled("original-greedy")),
        "hyperfitted": np.stack(run.sampled("hyperfitted-greedy")),
        "other": np.stack(other.sampled("hyperfitted-greedy")),
    }
    metrics, columns = {}, {}
    for pair, (one, two) in PAIRS.items():
        in_force, in_text = (forced[one], forced[two]), (written[one], written[two])
        metrics |= {
            f"teacher-forced/{pair}/top1_agreement": bootstrap_mean(equal_share(*in_force)),
            f"greedy/{pair}/equal_share": bootstrap_mean(equal_share(*in_text)),
            f"greedy/{pair}/tokens_until_difference": bootstrap_mean(
                tokens_until_difference(*in_text)
            ),
            f"weights/{pair}/largest_difference": point(
                largest_difference(models[one], models[two]), len(run.truth_PT)
            ),
        }
        columns |= {
            f"teacher_forced_{pair}": (in_force[0] == in_force[1]).mean(axis=0).tolist(),
            f"greedy_{pair}": (in_text[0] == in_text[1]).mean(axis=0).tolist(),
        }
    by_position = [
        {"position": position} | {name: values[position] for name, values in columns.items()}
        for position in range(run.prompts.new_tokens)
    ]
    return Measured(metrics=metrics, series={"by_position": by_position})


def top1_tokens(scores: Iterable[tuple[slice, Tensor]]) -> np.ndarray:
    """(N, L) int64 likeliest token at each position, from those of `next_scores`."""
    return np.concatenate([scores_BLV.argmax(dim=-1).cpu().numpy() for _, scores_BLV in scores])


def equal_share(one_PM: np.ndarray, other_PM: np.ndarray) -> np.ndarray:
    """(P,) share of positions at which both hold the same token."""
    return (one_PM == other_PM).mean(axis=1)


def tokens_until_difference(one_PM: np.ndarray, other_PM: np.ndarray) -> np.ndarray:
    """(P,) length of the common beginning in tokens; M where there is no difference."""
    return np.cumprod(one_PM == other_PM, axis=1).sum(axis=1)


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Between equal weights of two models of one architecture; 0 for the same weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
