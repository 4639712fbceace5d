"""Is the terminal expansion real? (P2) States of each block, before the final norm and after it.

How hyperfitting moves and spreads hidden states, layer by layer.

P2 (Li et al., ICML 2026, arXiv 2605.22579) compares the states of the original and the hyperfitted
model on the same texts: cosine and L2 distance per block, and the effective dimension PR = (sum of
eigenvalues)^2 / (sum of squared eigenvalues) of the states' covariance. A jump at "the last layer"
may be an effect of the final norm, since libraries return the last state after it. So hooks take
every block's output before the norm, and the normed state is a layer of its own.

No eigenvalue is computed: their sum is the trace and the sum of their squares the squared Frobenius
norm. The same two numbers of the covariance without sequence i follow from a second pass, with S
the centred scatter of all states, and of those of sequence i the sum m and the scatter S_i around
the overall mean: S' = S - S_i - m m^T / n', where |S_i|^2 = |X X^T|^2 is a Gram matrix of its
tokens. So the jackknife over sequences is exact and needs one D x D matrix per layer.

Shapes: N sequences of T tokens, B per batch, L = T - first states of each, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, flat, read_options
from common.domain import Metrics
from common.measure.intervals import Interval, bootstrap_mean
from common.model.head import decoder_of, eval_mode
from common.model.tune import decoder_blocks


def geometry(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Distance and effective dimension of the states that predict the true continuations.

    Metrics: "first-block/...", "last-block/..." and "after-norm/..." of
    `LayerGeometry`. Series "by_layer": the same of every layer, with "layer",
    "relative_depth" and "after_norm".
    """
    read_options(NoOptions, options, analysis="geometry")
    layers = compare_layers(run.original, run.hyperfitted, run.truth_PT, first=run.first)
    named = {"first-block": layers[0], "last-block": layers[-2], "after-norm": layers[-1]}
    metrics = {
        f"{where}/{name}": value
        for where, layer in named.items()
        for name, value in _intervals(layer).items()
    }
    by_layer = [
        {
            "layer": layer.name,
            "relative_depth": layer.relative_depth,
            "after_norm": layer is layers[-1],
            **flat(_intervals(layer)),
        }
        for layer in layers
    ]
    return Measured(metrics=metrics, series={"by_layer": by_layer})


def _intervals(layer: LayerGeometry) -> Metrics:
    return {n: v for n, v in vars(layer).items() if n not in ("name", "relative_depth")}


STATE_BYTES = 2**28  # states of all layers of both models, in one batch
AFTER_NORM = "after the final norm"


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """One layer of two models on the same sequences; intervals are over sequences.

    Attributes:
        name: "block 1" and so on, last the state after the final norm.
        relative_depth: share of the blocks passed, 1 for the last block and the normed state.
        cosine: mean cosine similarity of the two states of a token.
        l2: mean L2 norm of their difference.
        relative_l2: the same over the norm of the original's state.
        dimension_original, dimension_hyperfitted: PR of each model's states, from 1 to D.
        dimension_change: the second less the first.
    """

    name: str
    relative_depth: float
    cosine: Interval
    l2: Interval
    relative_l2: Interval
    dimension_original: Interval
    dimension_hyperfitted: Interval
    dimension_change: Interval


def layer_states(model: Any, ids_BT: Tensor, first: int) -> list[Tensor]:
    """(B, L, D) states that predict tokens `first` to T - 1: each block's output, then the last
    one's after the final norm."""
    _, blocks = decoder_blocks(model)
    states: list[Tensor] = []
    with _outputs_of(blocks, states):
        # Position p predicts token p + 1. So the last token is not fed, and the first state that
        # counts is at position `first` - 1.
        normed_BPD = decoder_of(model)(input_ids=ids_BT[:, :-1], use_cache=False)
    states.append(normed_BPD.last_hidden_state)
    assert len(states) == len(blocks) + 1, (len(states), len(blocks))
    return [state_BPD[:, first - 1 :] for state_BPD in states]


def compare_layers(
    original: Any, hyperfitted: Any, ids_NT: Tensor, *, first: int
) -> list[LayerGeometry]:
    """Geometry of every layer, from two passes over the sequences.

    Args:
        original, hyperfitted: of one architecture.
        ids_NT: (N, T) int64 ids, at least two sequences.
        first: the first predicted token whose state counts, at least 1.
    """
    assert len(ids_NT) >= 2, "a jackknife needs two sequences"
    models = (original, hyperfitted)
    layers = len(decoder_blocks(original)[1]) + 1
    distances: list[list[Tensor]] = [[] for _ in range(layers)]
    moments = [[_Moments() for _ in range(layers)] for _ in models]
    # The PR without a sequence needs the mean of all states, which only a full pass gives. So the
    # states are computed twice: kept, they would take memory in proportion to N.
    for before, after in _walk(models, ids_NT, first):
        for layer, (before_BLD, after_BLD) in enumerate(zip(before, after, strict=True)):
            distances[layer].append(_distances(before_BLD, after_BLD))
            moments[0][layer].add(before_BLD)
            moments[1][layer].add(after_BLD)
    scatters = [[one.scatter() for one in of_model] for of_model in moments]
    for both in _walk(models, ids_NT, first):
        for of_model, states in zip(scatters, both, strict=True):
            for scatter, states_BLD in zip(of_model, states, strict=True):
                scatter.leave_out_each(states_BLD)
    return [
        _geometry(
            AFTER_NORM if layer == layers - 1 else f"block {layer + 1}",
            min(layer + 1, layers - 1) / (layers - 1),
            torch.cat(distances[layer]).numpy(),
            *(of_model[layer] for of_model in scatters),
        )
        for layer in range(layers)
    ]


@torch.no_grad()
def _walk(models: tuple[Any, Any], ids_NT: Tensor, first: int) -> Iterator[list[list[Tensor]]]:
    """Per batch and model, the states of all layers."""
    config = models[0].config.get_text_config(decoder=True)
    # Bytes of one token: D float32 values per block and after the norm, for both models.
    per_token = 4 * config.hidden_size * (config.num_hidden_layers + 1) * len(models)
    batch = max(1, STATE_BYTES // (per_token * ids_NT.shape[1]))
    with eval_mode(models[0]), eval_mode(models[1]):
        for ids_BT in ids_NT.split(batch):
            yield [layer_states(model, ids_BT.to(model.device), first) for model in models]


@contextmanager
def _outputs_of(blocks: Any, states: list[Tensor]) -> Iterator[None]:
    """While inside, each block appends its output."""

    def keep(_block: object, _args: object, output: Any) -> None:
        # Depending on the architecture a block returns its states alone or first in a tuple.
        states.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _distances(before_BLD: Tensor, after_BLD: Tensor) -> Tensor:
    """(B, 3) means over the tokens of a sequence: cosine, L2, L2 over the original's norm."""
    # Float64, since float32 has only seven digits for a cosine close to 1.
    before_BLD, after_BLD = before_BLD.double(), after_BLD.double()
    moved_BL = (after_BLD - before_BLD).norm(dim=-1)
    columns = (
        F.cosine_similarity(before_BLD, after_BLD, dim=-1),
        moved_BL,
        moved_BL / before_BLD.norm(dim=-1),
    )
    # All sequences have L tokens, so the mean of these means is the mean over all tokens.
    return torch.stack([column_BL.mean(dim=1) for column_BL in columns], dim=1).cpu()


class _Moments:
    """Float64 sums of the states of one layer, around the mean of the first batch, so that a mean
    much larger than the spread costs no digits."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, states_BLD: Tensor) -> None:
        states_XD = states_BLD.flatten(0, 1).double()
        if self.count == 0:
            self.origin_D = states_XD.mean(dim=0)
            self.sum_D = torch.zeros_like(self.origin_D)
            self.product_DD = self.sum_D.new_zeros(len(self.sum_D), len(self.sum_D))
        states_XD = states_XD - self.origin_D  # `double` copies nothing where they are float64
        self.count += len(states_XD)
        self.sum_D += states_XD.sum(dim=0)
        # X^T X, the sum of the outer products x x^T.
        self.product_DD.addmm_(states_XD.T, states_XD)

    def scatter(self) -> _Scatter:
        # sum (x - mean)(x - mean)^T = sum x x^T - s s^T / n, with s = sum x. All x are relative to
        # `origin_D`, which shifts the mean and leaves the scatter as it is.
        scatter_DD = self.product_DD - self.sum_D.outer(self.sum_D) / self.count
        return _Scatter(self.origin_D + self.sum_D / self.count, scatter_DD, self.count)


class _Scatter:
    """PR of one layer's states, and what it would be without each sequence.

    Args:
        mean_D: of the states.
        scatter_DD: sum of (x - mean)(x - mean)^T.
        count: states.
    """

    def __init__(self, mean_D: Tensor, scatter_DD: Tensor, count: int) -> None:
        self.mean_D, self.scatter_DD, self.count = mean_D, scatter_DD, count
        self.trace, self.square = scatter_DD.trace(), scatter_DD.square().sum()
        self.left_out: list[Tensor] = []

    @property
    def dimension(self) -> float:
        # PR = (tr C)^2 / |C|^2 with the covariance C = S / n and the Frobenius norm; n cancels.
        return float(self.trace.square() / self.square)

    def leave_out_each(self, states_BLD: Tensor) -> None:
        """Add the PR without each of these sequences."""
        # Sequence i has centred states X, (L, D), with sum m and scatter S_i = X^T X. Without it
        # n' = n - L states remain. All centred states sum to 0, so these sum to -m, and around
        # their own mean their scatter is S' = S - S_i - m m^T / n'. PR needs
        #   tr S'  = tr S - |X|^2 - |m|^2 / n'
        #   |S'|^2 = |S|^2 + |S_i|^2 + |m|^4 / n'^2
        #            + 2 <S_i, m m^T> / n' - 2 <S, m m^T> / n' - 2 <S, S_i>
        # with <A, B> = tr(A B). No D x D matrix is built per sequence.
        x_BLD = states_BLD.double() - self.mean_D
        rest = self.count - x_BLD.shape[1]
        sum_BD = x_BLD.sum(dim=1)
        # |m|^2
        length_B = sum_BD.square().sum(dim=1)
        # <S, S_i> = sum over tokens of x^T S x
        shared_B = torch.linalg.vecdot(x_BLD @ self.scatter_DD, x_BLD).sum(dim=1)
        # |S_i|^2 = |X X^T|^2, by the L x L Gram matrix of the tokens
        own_B = (x_BLD @ x_BLD.mT).square().sum(dim=(1, 2))
        # <S, m m^T> = m^T S m
        across_B = torch.linalg.vecdot(sum_BD @ self.scatter_DD, sum_BD)
        # <S_i, m m^T> = sum over tokens of (x^T m)^2
        within_B = torch.einsum("bld,bd->bl", x_BLD, sum_BD).square().sum(dim=1)
        trace_B = self.trace - x_BLD.square().sum(dim=(1, 2)) - length_B / rest
        square_B = self.square + own_B + (length_B / rest).square()
        square_B += 2 * ((within_B - across_B) / rest - shared_B)
        self.left_out.append((trace_B.square() / square_B).cpu())

    def influence(self) -> np.ndarray:
        """(N,) one value per sequence with the PR as their mean, for a bootstrap.

        PR + (N - 1) (mean of PR without one - PR without i): the jackknife's linearisation.
        """
        # (N,) PR without sequence i. Where that is below the mean, the sequence raises PR.
        left_N = torch.cat(self.left_out).numpy()
        return self.dimension + (len(left_N) - 1) * (left_N.mean() - left_N)


def _geometry(
    name: str, depth: float, distances_N3: np.ndarray, before: _Scatter, after: _Scatter
) -> LayerGeometry:
    cosine, l2, relative_l2 = (bootstrap_mean(column_N) for column_N in distances_N3.T)
    before_N, after_N = before.influence(), after.influence()
    return LayerGeometry(
        name=name,
        relative_depth=depth,
        cosine=cosine,
        l2=l2,
        relative_l2=relative_l2,
        dimension_original=bootstrap_mean(before_N),
        dimension_hyperfitted=bootstrap_mean(after_N),
        dimension_change=bootstrap_mean(after_N - before_N),
    )
