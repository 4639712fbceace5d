"""Cross-entropy and its statistics from hidden states, a chunk of tokens at a time.

The logits of one training batch are its largest tensor: 8 x 256 tokens x 128 k entries are 1 GiB in
float32. So each chunk of tokens is multiplied by the output embedding once, its loss, statistics
and gradients are computed, and its logits are dropped. That takes three matrix products as in plain
training, and recomputes none (the idea of Liger's fused linear cross-entropy).

With z the logits less their maximum and s = sum exp z, everything is a sum of terms of one sign:
loss = ln s - z_gold, entropy = ln s - sum(exp(z) z) / s, top-1 mass = 1 / s. Nothing cancels.
The loss is exactly 0.0 once the gold token leads by some 17 nats: in float32 that is right.

Shapes: N tokens, C tokens of one chunk, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.model.token_stats import TokenStats, TokenSums
from common.tools.precision import compute_dtype

TOP = 5
TOP_BLOCK = 64  # columns per block of `top_logits`; 32 costs the same


def top_logits(logits_CV: Tensor, k: int = TOP) -> Tensor:
    """(C, k) largest values in falling order, equal to `topk` and several times as fast on CPU.

    The k largest lie in the k blocks with the largest maxima, so one vectorised pass finds the
    blocks and `topk` sorts only their columns and the remainder. At V = 8192 this takes the
    statistics from 8 % to 3 % of the loss and its gradients.
    """
    vocabulary = logits_CV.shape[-1]
    blocks = vocabulary // TOP_BLOCK
    if blocks <= k:
        return logits_CV.topk(min(k, vocabulary), dim=-1).values
    # (C, TOP_BLOCK, blocks), a block being every `blocks`-th column: so the maxima of all blocks
    # come from whole rows of memory at a time.
    blocked = logits_CV[:, : blocks * TOP_BLOCK].unflatten(-1, (TOP_BLOCK, blocks))
    # (C, k) blocks. Any other block's maximum has k maxima at or above it, so it is not needed.
    best = blocked.amax(dim=1).topk(k, dim=-1, sorted=False).indices
    candidates = blocked.gather(2, best[:, None, :].expand(-1, TOP_BLOCK, -1)).flatten(1)
    # The last columns, fewer than TOP_BLOCK, fill no block.
    rest = logits_CV[:, blocks * TOP_BLOCK :]
    return torch.cat([candidates, rest], dim=-1).topk(k, dim=-1).values


def first_choice(logits_CV: Tensor) -> tuple[Tensor, Tensor]:
    """Largest logit (C, 1) and the first id that has it (C,), with ties as in `argmax`.

    `max` with indices takes 4 to 6 times as long on CPU as `amax`. With blocks of neighbours, where
    indices are searched among block maxima and in one block only, it costs about as much as `amax`
    (one thread, V = 49,152: 10 ms for 512 tokens against 37; the product takes 430).
    """
    tokens, vocabulary = logits_CV.shape
    blocks = vocabulary // TOP_BLOCK
    if blocks < 2:
        ids_C = logits_CV.argmax(dim=-1)
        return logits_CV.gather(1, ids_C[:, None]), ids_C
    # Here a block is TOP_BLOCK neighbours, so that the first block with the largest maximum holds
    # the smallest such id, unless only the last columns have it.
    blocked_CKB = logits_CV[:, : blocks * TOP_BLOCK].unflatten(-1, (blocks, TOP_BLOCK))
    best_C = blocked_CKB.amax(dim=-1).argmax(dim=-1)
    rows_C = torch.arange(tokens, device=logits_CV.device)
    rest = logits_CV[:, blocks * TOP_BLOCK :]
    # (C, TOP_BLOCK + rest), the ids ascending.
    candidates = torch.cat([blocked_CKB[rows_C, best_C], rest], dim=-1)
    place_C = candidates.argmax(dim=-1)
    # From place to id. Places from TOP_BLOCK on are the columns after the last block.
    offset_C = torch.where(place_C < TOP_BLOCK, best_C, blocks - 1) * TOP_BLOCK
    return candidates.gather(1, place_C[:, None]), offset_C + place_C


class _Chunk:
    """Softmax of one chunk of tokens; destroys its logits.

    Args:
        logits_CV: float32; they become `z_CV`.
        gold_C: ids to predict.
        exp_CV: receives exp z; None overwrites z, and then there are no statistics.
    """

    def __init__(self, logits_CV: Tensor, gold_C: Tensor, exp_CV: Tensor | None) -> None:
        max_C1, self.choice_C = first_choice(logits_CV)
        # z <= 0, so exp z never overflows, and s is between 1 and V. The top logits are read first,
        # since the subtraction overwrites them, and z_gold before exp may overwrite z.
        if exp_CV is not None:
            self._top_exp_C5 = (top_logits(logits_CV) - max_C1).exp()
        self.z_CV = logits_CV.sub_(max_C1)
        self.z_gold_C1 = self.z_CV.gather(-1, gold_C[:, None])
        self.exp_CV = torch.exp(self.z_CV, out=self.z_CV if exp_CV is None else exp_CV)
        self.sum_C = self.exp_CV.sum(dim=-1)
        self.loss_nats_C = self.sum_C.log() - self.z_gold_C1[:, 0]

    def entropy_nats(self) -> Tensor:
        # -sum p ln p with p = exp(z) / s and ln p = z - ln s.
        return self.sum_C.log() - torch.linalg.vecdot(self.exp_CV, self.z_CV) / self.sum_C

    def top_masses(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mass of the 1, 3 and 5 likeliest tokens, each (C,)."""
        # The largest z is 0 and exp 0 = 1, so the top-1 mass is 1 / s.
        exp_C5 = self._top_exp_C5
        # A sum of k terms may pass the sum over all of them by one rounding.
        mass3_C = (exp_C5[:, :3].sum(dim=-1) / self.sum_C).clamp_max(1.0)
        return 1.0 / self.sum_C, mass3_C, (exp_C5.sum(dim=-1) / self.sum_C).clamp_max(1.0)

    def gold_rank(self, gold_C: Tensor) -> Tensor:
        # Tokens above the gold one, and ties with a smaller id, (C, V): `argmax` takes the first of
        # equals, so rank 0 is exactly its choice.
        above_CV = self.z_CV > self.z_gold_C1
        ids_V = torch.arange(self.z_CV.shape[-1], device=gold_C.device)
        tied_before_CV = (self.z_CV == self.z_gold_C1) & (ids_V < gold_C[:, None])
        return (above_CV | tied_before_CV).sum(dim=-1)


def _chunks(
    rows_ND: Tensor,
    weight_VD: Tensor | None,
    bias_V: Tensor | None,
    gold_N: Tensor,
    *,
    size: int,
    stats: bool,
) -> Iterator[tuple[slice, Tensor, _Chunk]]:
    """Slices of N, the rows in the dtype of the products, and the softmax of their logits.

    Without a weight the rows are the logits. All chunks share their memory: allocating new pages
    for each would cost as much as a pass over them.
    """
    tokens = rows_ND.shape[0]
    vocabulary = (rows_ND if weight_VD is None else weight_VD.T).shape[1]
    shape, device = (min(size, tokens), vocabulary), rows_ND.device
    all_logits_CV = torch.empty(shape, device=device, dtype=torch.float32)
    all_exp_CV = torch.empty_like(all_logits_CV) if stats else None
    for start in range(0, tokens, size):
        part = slice(start, start + size)
        rows_CD = rows_ND[part] if weight_VD is None else rows_ND[part].to(weight_VD.dtype)
        logits_CV = all_logits_CV[: len(rows_CD)]
        if weight_VD is None:
            logits_CV.copy_(rows_CD)
        elif weight_VD.dtype != torch.float32:
            # `out=` cannot take a half-precision product, so the product is copied.
            logits_CV.copy_(F.linear(rows_CD, weight_VD, bias_V))
        elif bias_V is None:
            torch.mm(rows_CD, weight_VD.T, out=logits_CV)
        else:
            torch.addmm(bias_V, rows_CD, weight_VD.T, out=logits_CV)
        exp_CV = None if all_exp_CV is None else all_exp_CV[: len(rows_CD)]
        yield part, rows_CD, _Chunk(logits_CV, gold_N[part], exp_CV)


class _LinearLoss(torch.autograd.Function):
    """Loss sum with its gradients taken in the forward pass; see `linear_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        rows_ND: Tensor,
        weight_VD: Tensor | None,
        bias_V: Tensor | None,
        gold_N: Tensor,
        counted_N: Tensor,
        chunk_tokens: int,
        differentiate: bool,
        stats: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        to_rows, to_weight, to_bias = (differentiate and need for need in ctx.needs_input_grad[:3])
        grad_ND = torch.empty_like(rows_ND) if to_rows else None
        grad_VD = grad_V = product_VD = product_V = None
        # The weight is cast once, not per chunk. Its gradient is summed over chunks in float32: in
        # bf16 a sum that is large already would swallow what later chunks add.
        if weight_VD is not None:
            dtype = compute_dtype(weight_VD)
            product_VD = weight_VD.to(dtype)
            product_V = None if bias_V is None else bias_V.to(dtype)
            if to_weight:
                grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32)
            if bias_V is not None and to_bias:
                grad_V = torch.zeros_like(bias_V, dtype=torch.float32)
        # The loss, the right tokens, then `TokenSums` less `tokens`.
        sums = torch.zeros(8, device=rows_ND.device)

        # The dtypes are chosen above; autocast would cast the weight again in every chunk.
        with torch.autocast(rows_ND.device.type, enabled=False):
            for part, rows_CD, chunk in _chunks(
                rows_ND, product_VD, product_V, gold_N, size=chunk_tokens, stats=stats
            ):
                columns = [chunk.loss_nats_C, (chunk.choice_C == gold_N[part]).float()]
                if stats:
                    mass1_C, mass3_C, mass5_C = chunk.top_masses()
                    over_C = [(mass1_C > limit).float() for limit in (0.9, 0.99)]
                    columns += [chunk.entropy_nats(), mass1_C, mass3_C, mass5_C, *over_C]
                counted_C = counted_N[part].float()
                # (columns, C) times a mask of 0 and 1, summed over C. The sums stay on the device.
                sums[: len(columns)] += (torch.stack(columns) * counted_C).sum(dim=-1)
                # Nothing is trained, as while measuring: no gradient to take.
                if not (to_rows or to_weight or to_bias):
                    continue
                # d loss / d logits = p - onehot(gold), and 0 for tokens that do not count: here
                # exp z - s onehot(gold), and a factor of 1 / s or 0 per token.
                scale_C1 = (counted_C / chunk.sum_C)[:, None]
                unscaled_CV = chunk.exp_CV.scatter_add_(
                    1, gold_N[part][:, None], -chunk.sum_C[:, None]
                )
                # With G = d loss / d logits, (C, V): the gradient of the bias is the sum of G over
                # C, of the rows G W, (C, D), and of the weight G^T rows, (V, D).
                if grad_V is not None:
                    grad_V.addmv_(unscaled_CV.T, scale_C1[:, 0])
                if product_VD is None:
                    # The rows are the logits. Last use of this chunk, so G may overwrite it.
                    if grad_ND is not None:
                        grad_ND[part] = unscaled_CV.mul_(scale_C1)
                elif product_VD.dtype == torch.float32:
                    # Scaling the factors of D columns saves a pass over V columns.
                    if grad_ND is not None:
                        grad_ND[part] = (unscaled_CV @ product_VD).mul_(scale_C1)
                    if grad_VD is not None:
                        grad_VD.addmm_(unscaled_CV.T, rows_CD * scale_C1)
                else:
                    # Rows that were rounded once would be rounded again by scaling them.
                    dlogits_CV = unscaled_CV.mul_(scale_C1).to(product_VD.dtype)
                    if grad_ND is not None:
                        grad_ND[part] = dlogits_CV @ product_VD
                    if grad_VD is not None:
                        grad_VD += dlogits_CV.T @ rows_CD

        if grad_VD is not None and weight_VD is not None:
            grad_VD = grad_VD.to(weight_VD.dtype)
        if grad_V is not None and bias_V is not None:
            grad_V = grad_V.to(bias_V.dtype)
        ctx.save_for_backward(grad_ND, grad_VD, grad_V)
        # Copies: autograd should receive three tensors of their own, not views of one.
        loss_sum, correct, stat_sums = sums[0].clone(), sums[1].clone(), sums[2:].clone()
        ctx.mark_non_differentiable(correct, stat_sums)
        return loss_sum, correct, stat_sums

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *upstream: Tensor
    ) -> tuple[Tensor | None, ...]:
        # d loss sum / d input was taken in the forward pass; the chain rule leaves one factor, the
        # upstream gradient of the loss sum. The other two outputs have none.
        scaled = [None if grad is None else grad * upstream[0] for grad in ctx.saved_tensors]
        return (*scaled, None, None, None, None, None)


def linear_loss(
    rows_ND: Tensor,
    weight_VD: Tensor | None,
    bias_V: Tensor | None,
    gold_N: Tensor,
    counted_N: Tensor,
    *,
    chunk_tokens: int,
    stats: bool,
) -> tuple[Tensor, Tensor, TokenSums | None]:
    """Summed cross-entropy in nats over counted tokens, differentiable; the number of them whose
    argmax is the gold token; and the statistics.

    Products run in the autocast dtype where autocast is on, everything after them in float32.
    Under `no_grad` no gradient is computed.

    Args:
        rows_ND: (N, D) hidden states, or (N, V) logits when `weight_VD` is None.
        weight_VD: (V, D) output embedding.
        bias_V: (V,) output bias or None.
        gold_N: (N,) int64 ids to predict, all valid even where they do not count.
        counted_N: (N,) bool, which tokens count.
        chunk_tokens: how many tokens' logits exist at a time.
        stats: whether to compute `TokenSums`; None is returned otherwise.
    """
    loss_sum, correct, sums = _LinearLoss.apply(
        rows_ND,
        weight_VD,
        bias_V,
        gold_N,
        counted_N,
        chunk_tokens,
        torch.is_grad_enabled(),
        stats,
    )
    if not stats:
        return loss_sum, correct, None
    # All of its fields but `tokens`, the last.
    names = [field.name for field in fields(TokenSums)]
    whole = [*sums.unbind(), counted_N.sum()]
    return loss_sum, correct, TokenSums(**dict(zip(names, whole, strict=True)))


@torch.no_grad()
def linear_stats(
    rows_ND: Tensor,
    weight_VD: Tensor | None,
    bias_V: Tensor | None,
    gold_N: Tensor,
    *,
    chunk_tokens: int,
) -> TokenStats:
    """Per-token statistics, each (N,); arguments as in `linear_loss`."""
    if weight_VD is not None:
        dtype = compute_dtype(weight_VD)
        weight_VD, bias_V = weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)
    columns: list[tuple[Tensor, ...]] = []
    with torch.autocast(rows_ND.device.type, enabled=False):
        for part, _, chunk in _chunks(
            rows_ND, weight_VD, bias_V, gold_N, size=chunk_tokens, stats=True
        ):
            rank_C = chunk.gold_rank(gold_N[part])
            columns.append((chunk.loss_nats_C, chunk.entropy_nats(), *chunk.top_masses(), rank_C))
    names = [field.name for field in fields(TokenStats)]
    whole = [torch.cat(column) for column in zip(*columns, strict=True)]
    return TokenStats(**dict(zip(names, whole, strict=True)))
