"""One feature vector per sequence: the state of its last token after the final norm.

What MAUVE's authors compare (Pillutla et al. 2021, section 4). A causal model has seen the whole
sequence there.

Shapes: P sequences of T tokens, B per batch, D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from common.model.causal_lm import context_length
from common.model.head import decoder_of, eval_mode


@torch.no_grad()
def last_states(model: Any, ids_PT: Tensor, *, batch_size: int) -> Tensor:
    """(P, D) float32 states on the CPU.

    A model with fewer than T positions (an ImageGPT, whose last code predicts nothing and has no
    place) is given as many tokens as it takes.
    """
    ids_PT = ids_PT[:, : context_length(model)]
    states = []
    with eval_mode(model):
        for ids_BT in ids_PT.split(batch_size):
            output = decoder_of(model)(input_ids=ids_BT.to(model.device), use_cache=False)
            states.append(output.last_hidden_state[:, -1].float().cpu())
    return torch.cat(states)
