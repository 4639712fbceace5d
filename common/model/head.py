"""The output head of any causal LM: loss, entropy and ranks from one set of hidden states.

The lean path multiplies the decoder's last hidden states by the output embedding in chunks of
tokens. Some architectures do more (Gemma-2 caps its logits, Granite and Cohere scale them). So
`attach_head` verifies the product on real ids, and uses the plain path where the product differs
from the model's logits. Nothing asks for an architecture's name.

Comparing logits of their usual size would not suffice: soft-capping at 30 changes a logit of 0.1 by
4e-7, so a new model would pass and the trained one would be wrong. So a hook scales the output of
the output layer until the largest logit is `PROBE_LOGIT`. A model that returns these logits
unchanged is linear there.

The last token of a sequence predicts nothing and is not fed. So a model with L positions (ImageGPT)
takes sequences of L + 1 tokens, and T tokens cost T - 1.

Shapes: B sequences, T tokens each, P = T - 1 predicted ones, D hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.model.linear_loss import linear_loss, linear_stats
from common.model.token_stats import TokenStats, TokenSums
from common.tools.modules import eval_mode

PROBE_LOGIT = 1000.0
VERIFY_ROWS, VERIFY_TOKENS = 2, 64
CHUNK_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class TrainLoss:
    """Loss of one batch as a sum, so that accumulation over batches is exact in tokens.

    Attributes:
        loss_sum: 0-d float32, nats, differentiable.
        correct: 0-d float32, detached, how many counted tokens are the model's first choice.
        tokens: 0-d int64 on the device, how many tokens were counted.
        stats: detached sums for the probe, or None when not asked for.
    """

    loss_sum: Tensor
    correct: Tensor
    tokens: Tensor
    stats: TokenSums | None


class LogitsHead:
    """Turns ids into hidden states, and these into loss and statistics.

    Made by `attach_head`. It reads the weights from the model at each call, so it stays valid while
    the model is trained, loaded or moved to another device.

    Attributes:
        model: the causal LM as given, a peft wrapper included.
        body: computes the hidden states; may be replaced by `torch.compile(head.body)`.
        notice: why the plain path is used, or None on the lean path.
        chunk_tokens: how many tokens' float32 logits exist at a time.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        body: Callable[..., Any],
        projection: nn.Linear | None,
        chunk_tokens: int,
        notice: str | None,
    ) -> None:
        self.model, self.body, self.notice = model, body, notice
        self.chunk_tokens = chunk_tokens
        self._projection = projection

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """(B, P, D) last hidden states; on the plain path the (B, P, V) logits themselves.

        `train_loss` and `token_stats` accept both; column t predicts `ids_BT[:, t + 1]`. There is
        no attention mask: sequences start at column 0, and a causal model cannot see padding on
        their right.
        """
        output = self.body(input_ids=ids_BT[:, :-1], use_cache=False)
        return output.logits if self._projection is None else output.last_hidden_state

    def train_loss(
        self,
        hidden_BPD: Tensor,
        ids_BT: Tensor,
        *,
        mask_BT: Tensor | None = None,
        stats: bool = True,
    ) -> TrainLoss:
        """Cross-entropy of each token given those before it; the shift is done here.

        Args:
            hidden_BPD: what `hidden(ids_BT)` returned.
            ids_BT: (B, T) int64 ids. All must be valid: mark padding in the mask, not by -100.
            mask_BT: (B, T) bool, which tokens count as targets; None counts all. Column 0 has no
                effect, for nothing predicts the first token.
            stats: whether to compute the probe's sums as well.
        """
        gold_BP = ids_BT[:, 1:]
        counted_BP = torch.ones_like(gold_BP, dtype=torch.bool)
        if mask_BT is not None:
            counted_BP = mask_BT[:, 1:]
        loss_sum, correct, sums = linear_loss(
            hidden_BPD.flatten(0, 1),
            *self._parameters(),
            gold_BP.flatten(),
            counted_BP.flatten(),
            chunk_tokens=self.chunk_tokens,
            stats=stats,
        )
        return TrainLoss(loss_sum=loss_sum, correct=correct, tokens=counted_BP.sum(), stats=sums)

    def token_stats(self, hidden_BPD: Tensor, ids_BT: Tensor) -> TokenStats:
        """Statistics per predicted token, each (B, P): column t is about `ids_BT[:, t + 1]`."""
        gold_BP = ids_BT[:, 1:]
        stats = linear_stats(
            hidden_BPD.flatten(0, 1),
            *self._parameters(),
            gold_BP.flatten(),
            chunk_tokens=self.chunk_tokens,
        )
        names = [field.name for field in fields(TokenStats)]
        return TokenStats(**{name: getattr(stats, name).view(gold_BP.shape) for name in names})

    def _parameters(self) -> tuple[Tensor | None, Tensor | None]:
        if self._projection is None:
            return None, None
        return self._projection.weight, self._projection.bias


def decoder_of(model: Any) -> Any:
    """The part of a causal LM that gives the last hidden states, without the output layer."""
    found = model.get_decoder()
    # Llama-4 returns itself there, and ModernBERT its output layer, which it calls decoder.
    if found is model or found is model.get_output_embeddings():
        return next(part for part in model.children() if isinstance(part, PreTrainedModel))
    return found


def attach_head(
    model: Any, ids_BT: Tensor, *, chunk_tokens: int = CHUNK_TOKENS, tolerance: float = 1e-2
) -> LogitsHead:
    """Find and verify the head of a causal LM; show the result's `notice` to the user.

    Args:
        model: a transformers causal LM or a peft model around one.
        ids_BT: (B, T) ids of a first batch; only its first rows and columns are used.
        chunk_tokens: how many tokens' float32 logits exist at a time.
        tolerance: largest accepted difference, relative to the largest logit. One bf16 rounding is
            4e-3; the effect of capping or scaling is far larger at `PROBE_LOGIT`.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    body, projection = decoder_of(inner), inner.get_output_embeddings()
    # A subclass may compute something else than its weight and bias, perhaps only once trained:
    # LoRA on the output layer starts as the identity.
    if type(projection) is not nn.Linear:
        reason = f"its output layer is a {type(projection).__name__}, not an nn.Linear"
    else:
        fed = max(ids_BT.shape[1] - 1, 1)
        corner_BT = ids_BT[:VERIFY_ROWS, : min(fed, VERIFY_TOKENS)]
        difference = _difference(model, body, projection, corner_BT)
        if difference <= tolerance:
            return LogitsHead(
                model=model,
                body=body,
                projection=projection,
                chunk_tokens=chunk_tokens,
                notice=None,
            )
        reason = (
            "its logits are not hidden states times the output embedding (they differ by "
            f"{difference:.2g} of the largest)"
        )
    notice = (
        f"{type(inner).__name__}: {reason}; using the plain path, which holds all logits of a "
        "batch in memory"
    )
    return LogitsHead(
        model=model, body=model, projection=None, chunk_tokens=chunk_tokens, notice=notice
    )


@torch.no_grad()
def _difference(model: Any, body: Any, projection: nn.Linear, ids_BT: Tensor) -> float:
    """Largest |model logits - product| relative to the largest logit, both amplified."""
    with eval_mode(model):
        hidden_BTD = body(input_ids=ids_BT, use_cache=False).last_hidden_state
        if hidden_BTD.shape[-1] != projection.in_features:
            return math.inf
        product_BTV = F.linear(hidden_BTD, projection.weight, projection.bias).float()
        factor = PROBE_LOGIT / product_BTV.abs().max()

        def amplify(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            return output * factor

        handle = projection.register_forward_hook(amplify)
        try:
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits.float()
        finally:
            handle.remove()
    return float((logits_BTV - product_BTV * factor).abs().max() / PROBE_LOGIT)
