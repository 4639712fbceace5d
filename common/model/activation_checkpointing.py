"""Activation checkpointing: a decoder whose blocks compute their activations twice, and keep none.

Training keeps what each block computes until the backward pass needs it: some 34 numbers per token
and hidden unit. A checkpointed block keeps its input alone and is computed again in the backward
pass. That costs one more forward pass of the trained blocks, a quarter to a third of an update.

The result is another body with the same parameters, as in `common.model.frozen_prefix`. The model
itself is not touched: evaluation and decoding run the model, so they recompute nothing and may use
a cache. torch.compile takes this body too, and recomputes the same blocks.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from common.errors import UserError
from common.model.frozen_prefix import with_blocks
from common.model.tune import find_blocks


def blocks_to_checkpoint(model: Any) -> str:
    """Name of the list of blocks in a model or in its decoder.

    Raises:
        UserError: there is none, as in a model that runs its blocks several times.
    """
    found = find_blocks(model)
    if found is None:
        raise UserError(
            expected="a model with one list of decoder blocks, for train.checkpoint_activations",
            got=f"{type(model).__name__}, which has none as long as its configuration says",
            fix="leave train.checkpoint_activations out; a smaller train.micro_batch_size saves "
            "memory too",
        )
    return found[0]


def checkpointed(body: Any, name: str) -> Any:
    """A body that shares everything with `body` but recomputes its blocks in the backward pass.

    Args:
        body: a decoder or a whole model, perhaps without its lower blocks.
        name: from `blocks_to_checkpoint`.
    """
    blocks = body.get_submodule(name)
    return with_blocks(body, name, nn.ModuleList(_checkpointed(block) for block in blocks))


def _checkpointed(block: nn.Module) -> nn.Module:
    """A copy of a block that shares its parameters and attributes. Decoders read attributes of
    their blocks, so that a module around the block would not do."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        # No block draws random numbers while it is trained: dropout is off. So their state need
        # not be kept, which costs a copy per block.
        return checkpoint(
            block.forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs
        )

    again = copy.copy(block)
    again.forward = forward
    return again
