"""The frozen lower blocks, computed once per training sequence instead of once per update.

When only the last blocks are tuned (late-stage tuning, Li et al., arXiv 2605.22579), the hidden
states that enter the first tuned block never change, and hyperfitting uses the same few sequences
dozens of times. So these states are computed once and kept, and an update runs the upper blocks
alone. For the last 3 of 8 blocks this leaves 23 of 31 parts of the arithmetic, for the last 5 of 22
half of it.

Nothing asks for an architecture's name. The upper decoder is the decoder without its lower blocks,
and its input embeddings are the kept states. It is used only if it gives the full decoder's result
on real sequences. GPT-2 adds positions to its input, fails this check and runs in full.

Shapes: N sequences, T tokens each, P = T - 1 of them fed (see `common.model.head`), B in a batch,
D hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from common.model.head import LogitsHead
from common.model.tune import find_blocks
from common.tools.library_errors import LIBRARY_ERRORS, lacks_memory
from common.tools.modules import eval_mode
from common.tools.precision import compute_dtype

# Share of the free memory of the device that keeps the states.
MEMORY_SHARE = 0.25
# Largest error of a token's state relative to the norm of that state. Equal arithmetic in the same
# order mostly gives equal bits. A wrong mask changes only tokens beyond a window, by 1e-2 and more;
# an error relative to the largest state of all would not show that.
TOLERANCE = 1e-4
LOW_PRECISION_TOLERANCE = 2**-8  # one rounding of bf16


class FrozenPrefix:
    """Hidden states of the training sequences at the first tuned block, and the blocks above it.

    Made by `freeze_prefix`.

    Attributes:
        states_NPD: inputs of the first tuned block.
        body: the decoder without the lower blocks; takes `inputs_embeds`. Its parameters are the
            model's own.
        first_block: how many lower blocks are left out.
    """

    def __init__(self, *, states_NPD: Tensor, body: Callable[..., Any], first_block: int) -> None:
        self.states_NPD, self.body, self.first_block = states_NPD, body, first_block

    def hidden(self, rows_B: list[int]) -> Tensor:
        """(B, P, D) last hidden states of these training sequences."""
        return self.body(inputs_embeds=self.states_NPD[rows_B], use_cache=False).last_hidden_state


def freeze_prefix(
    head: LogitsHead,
    sequences_NT: Tensor,
    *,
    batch_size: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> FrozenPrefix | None:
    """Compute the prefix of every training sequence; return None where that is not possible.

    It is not possible if the first block or the embeddings are trained, the head is on the plain
    path, the states take more than a quarter of the free memory, or the decoder without its lower
    blocks does not reproduce the whole one.

    Args:
        head: of the model, after `prepare_tuning`.
        sequences_NT: (N, T) training ids.
        batch_size: sequences per forward pass.
        device: of the model.
        autocast: a context manager factory around forward passes.
    """
    if head.notice is not None:
        return None
    decoder: Any = head.body
    found = find_blocks(decoder)
    if found is None:
        return None
    name, blocks = found
    first = _frozen_blocks(decoder, blocks)
    if not first or "." in name:  # what takes the kept states must hold the blocks itself
        return None
    upper = with_blocks(decoder, name, blocks[first:])
    lower = with_blocks(decoder, name, blocks[: first + 1])
    with torch.no_grad(), eval_mode(head.model), autocast():
        parts: list[Tensor] = []
        for ids_BP in sequences_NT[:, :-1].split(batch_size):
            ids_BP = ids_BP.long().to(device)
            # The first batch runs through the whole decoder, with which the upper one is compared.
            states_BPD, hidden_BPD = _run(lower if parts else decoder, blocks[first], ids_BP)
            if not parts and not _serves(upper, states_BPD, hidden_BPD, len(sequences_NT)):
                return None
            parts.append(states_BPD)
    return FrozenPrefix(states_NPD=torch.cat(parts), body=upper, first_block=first)


def with_blocks(decoder: nn.Module, name: str, blocks: nn.ModuleList) -> Any:
    """A decoder that shares everything with `decoder` but has these blocks alone.

    Args:
        decoder: or a whole model.
        name: of its list of blocks, such as "layers", or "model.layers" in a whole model.
        blocks: take the place of that list.
    """
    child, _, rest = name.partition(".")
    part = copy.copy(decoder)
    part._modules = dict(decoder._modules)
    part._modules[child] = (
        with_blocks(decoder.get_submodule(child), rest, blocks) if rest else blocks
    )
    return part


def _frozen_blocks(decoder: nn.Module, blocks: nn.ModuleList) -> int:
    """How many leading blocks are frozen; 0 if the embeddings are trained."""
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in blocks]
    count = frozen.index(False) if False in frozen else 0
    # Embeddings come before the blocks; final norms come after them and may be trained.
    embeddings = decoder.get_input_embeddings()  # type: ignore[operator]
    trained = any(p.requires_grad for p in embeddings.parameters())
    return 0 if trained else count


def _run(decoder: Any, block: nn.Module, ids_BP: Tensor) -> tuple[Tensor, Tensor]:
    """The input of `block`, and the last hidden states."""
    entered: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered.append(args[0] if args else kwargs["hidden_states"])

    handle = block.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        hidden_BPD = decoder(input_ids=ids_BP, use_cache=False).last_hidden_state
    finally:
        handle.remove()
    return entered[0], hidden_BPD


def _serves(upper: Any, states_BPD: Tensor, hidden_BPD: Tensor, sequences: int) -> bool:
    """Whether the upper decoder reproduces the whole one, and all states fit."""
    needed = states_BPD[0].nbytes * sequences
    if states_BPD.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(states_BPD.device)
    else:
        free = psutil.virtual_memory().available
    if needed > MEMORY_SHARE * free:
        return False
    try:
        again_BPD = upper(inputs_embeds=states_BPD, use_cache=False).last_hidden_state
    except LIBRARY_ERRORS as error:  # e.g. a decoder that makes several streams of its embeddings
        if lacks_memory(error):
            raise
        return False
    if again_BPD.shape != hidden_BPD.shape:
        return False
    errors_BP = (again_BPD.float() - hidden_BPD.float()).norm(dim=-1)
    worst = (errors_BP / hidden_BPD.float().norm(dim=-1).clamp(min=1e-30)).max()
    exact = compute_dtype(hidden_BPD) == torch.float32
    return bool(worst <= (TOLERANCE if exact else LOW_PRECISION_TOLERANCE))
