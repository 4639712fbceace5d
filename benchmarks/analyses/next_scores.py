"""What a model says about every next token of given sequences, in batches that fit in memory.

The full scores are what ranks, entropies at any temperature and logit offsets are made of. They
are too large to keep (160 texts of 96 tokens over 8192 entries are 0.5 GB), so they come batch by
batch and the caller keeps what it needs. Where only loss, entropy or ranks of the truth are wanted,
`common.measure.probe` does it with less. A search that asks for the same scores again and again
keeps the hidden states (16 MB there for a width of 256) and repeats only the output layer:
`KeptScores`.

Shapes: N sequences of T tokens, B of them in a batch, L = T - first scored tokens, V vocabulary,
D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from common.model.head import attach_head
from common.tools.modules import eval_mode

SCORE_BYTES = 2**26  # of one batch; more gains nothing on a CPU


@torch.no_grad()
def next_scores(
    model: Any, ids_NT: Tensor, *, first: int, processors: Sequence[LogitsProcessor] = ()
) -> Iterator[tuple[slice, Tensor]]:
    """Teacher-forced scores of each token given those before it.

    Args:
        model: a causal LM; in eval mode while this runs.
        ids_NT: (N, T) int64 ids.
        first: the first token that is scored, at least 1.
        processors: of the domain; what they forbid is -inf.

    Yields:
        The rows of a batch and their (B, L, V) float32 scores on the model's device; column l is
        about token `first + l`. The caller may change them in place.
    """
    tokens = ids_NT.shape[1]
    assert 1 <= first < tokens, (first, tokens)
    with eval_mode(model):
        for rows in _batches(model, ids_NT):
            ids_BT = ids_NT[rows].to(model.device)
            # Position p scores token p + 1. So the last token is not fed, and scores begin at
            # position `first` - 1.
            output = model(input_ids=ids_BT[:, :-1], use_cache=False)
            scores_BLV = output.logits[:, first - 1 :].float()
            yield rows, _processed(scores_BLV, ids_BT, first, processors)


class KeptScores:
    """The scores of `next_scores`, to be walked through as often as needed; arguments as there.

    Where a model does more to its logits than `attach_head` can follow, the logits are kept.
    """

    @torch.no_grad()
    def __init__(
        self, model: Any, ids_NT: Tensor, *, first: int, processors: Sequence[LogitsProcessor] = ()
    ) -> None:
        assert 1 <= first < ids_NT.shape[1], (first, ids_NT.shape)
        self.ids_NT, self.first, self.processors = ids_NT.to(model.device), first, processors
        # Compares hidden states times output embedding with the model's logits on one sequence;
        # a notice says that they differ.
        head = attach_head(model, self.ids_NT[:1])
        # Without a projection the states are the logits.
        self.projection = None if head.notice else model.get_output_embeddings()
        with eval_mode(model):
            self.states = [
                (rows, head.hidden(self.ids_NT[rows])[:, first - 1 :])
                for rows in _batches(model, ids_NT)
            ]

    @torch.no_grad()
    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        for rows, states_BLD in self.states:
            # A copy, as the caller may change the scores in place and these states serve again.
            output_BLV = (
                states_BLD.clone() if self.projection is None else self.projection(states_BLD)
            )
            yield (
                rows,
                _processed(output_BLV.float(), self.ids_NT[rows], self.first, self.processors),
            )


def _batches(model: Any, ids_NT: Tensor) -> Iterator[slice]:
    """Rows whose scores fit the budget."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    # float32 scores of T - 1 positions per sequence.
    batch = max(1, SCORE_BYTES // (4 * vocabulary * (ids_NT.shape[1] - 1)))
    for start in range(0, len(ids_NT), batch):
        yield slice(start, min(start + batch, len(ids_NT)))


def _processed(
    scores_BLV: Tensor, ids_BT: Tensor, first: int, processors: Sequence[LogitsProcessor]
) -> Tensor:
    """The scores after all processors, in place."""
    # A processor is made for decoding: it takes (B, V) scores of one next token and all ids before
    # it. So it is called once per column, with what a decoder would have had there.
    for process in processors:
        for column in range(scores_BLV.shape[1]):
            seen_BL: Any = ids_BT[:, : first + column]
            scores_BLV[:, column] = process(seen_BL, scores_BLV[:, column])  # type: ignore[arg-type]
    return scores_BLV
