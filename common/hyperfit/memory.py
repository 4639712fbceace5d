"""An estimate of training memory, made before any weights are loaded.

It counts what the updates keep on the device: weights, gradients, the optimizer's moments, the
activations that the backward pass needs, the loss with its gradients, and the states below the
first trained block (`common.model.frozen_prefix`). The most is needed at one of two moments: when
the backward pass starts, with all activations and no gradients yet, or when it ends, with all
gradients and no activations.

It does not count the process itself (libraries, CUDA), what an allocator wastes, evaluation,
decoding, or the copies in main memory that checkpoints are made of. torch.compile keeps fewer
activations than are counted.

Activations are not guessed from a configuration. The decoder runs on shapes alone (fake tensors),
and what autograd keeps is added up. So LoRA, frozen blocks and bf16 count as they are.

Shapes: B sequences, T tokens each, P = T - 1 of them fed, D hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from common.hyperfit.optimizer import BYTES_OF_MOMENTS
from common.model.head import CHUNK_TOKENS, decoder_of
from common.model.tune import find_blocks
from common.tools.device import Compute
from common.tools.library_errors import LIBRARY_ERRORS

GIB = 2**30
BYTES_PER_WEIGHT = 4  # float32
BYTES_PER_GRADIENT = 4
BYTES_PER_TRAINED_WEIGHT = 12  # its gradient and AdamW's two moments in float32
# Floats that a decoder block keeps per token for the backward pass, as a multiple of the hidden
# size, where the model cannot be run on shapes: 21 in a Llama with an MLP of 2.75 hidden sizes, 24
# in Llama 3.1 8B, 36 in GPT-2.
KEPT_PER_BLOCK = 34
CPU_FP32 = Compute(torch.device("cpu"), bf16=False)


def training_gib(
    model: Any,
    micro_batch: int,
    length: int,
    *,
    batch: int | None = None,
    sequences: int = 0,
    compute: Compute = CPU_FP32,
    checkpoint_activations: bool = False,
    bytes_of_moments: float = BYTES_OF_MOMENTS["adamw"],
) -> float:
    """GiB on the device to train the parameters of `model` that require gradients.

    Args:
        model: a transformers causal LM, peft-wrapped or not; it may live on the meta device.
        micro_batch: sequences per forward pass.
        length: tokens per sequence.
        batch: sequences per update; None is one forward pass.
        sequences: of the training set, whose states below the first trained block are kept.
        compute: device and precision.
        checkpoint_activations: whether the blocks keep their inputs alone.
        bytes_of_moments: of the optimizer, per trained weight.
    """
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    gradients = BYTES_PER_GRADIENT * trained
    state = BYTES_PER_WEIGHT * sum(p.numel() for p in parameters) + bytes_of_moments * trained
    activations = _activations(model, micro_batch, max(length - 1, 0), compute)
    state += sequences * activations.prefix_bytes_per_sequence
    kept, one_block = activations.kept_bytes, activations.kept_bytes // max(activations.blocks, 1)
    if checkpoint_activations:
        # The input of each block. autocast keeps its casts of trained weights to the pass's end.
        kept = activations.input_bytes * activations.blocks + 2 * trained * compute.bf16
    accumulates = batch is not None and batch > micro_batch
    starts = kept + _loss_bytes(model, micro_batch * max(length - 1, 0), compute)
    starts += gradients * accumulates
    # A second gradient of one parameter exists while it is added to the first: of the largest one
    # where several passes are summed, of the embeddings where the output layer shares them.
    second = 0
    if accumulates:
        second = max((p.numel() for p in parameters if p.requires_grad), default=0)
    elif activations.fed and _trains_tied_embeddings(model):
        second = model.get_input_embeddings().weight.numel()
    ends = gradients + BYTES_PER_GRADIENT * second + one_block
    return (state + max(starts, ends)) / GIB


@dataclass(frozen=True, kw_only=True)
class _Activations:
    """What one forward pass keeps for the backward pass.

    Attributes:
        fed: whether there are any tokens.
        kept_bytes: all of it, other than weights.
        blocks: how many decoder blocks keep something: those from the first trained one on.
        input_bytes: of the states that enter a block.
        prefix_bytes_per_sequence: of the states that enter the first trained block, if blocks lie
            below it.
    """

    fed: bool
    kept_bytes: int
    blocks: int
    input_bytes: int
    prefix_bytes_per_sequence: int


def _activations(model: Any, micro_batch: int, fed: int, compute: Compute) -> _Activations:
    inner = _inner(model)
    config = model.config.get_text_config(decoder=True)
    blocks, below = config.num_hidden_layers, 0
    found = find_blocks(inner)
    embeddings = inner.get_input_embeddings()
    if found is not None and not any(p.requires_grad for p in embeddings.parameters()):
        trained = [any(p.requires_grad for p in block.parameters()) for block in found[1]]
        below = trained.index(True) if True in trained else blocks
    states = fed * config.hidden_size * BYTES_PER_WEIGHT
    kept = 0
    if fed and micro_batch:
        try:
            kept = _saved_by_autograd(_decoder(inner), (micro_batch, fed), compute)
        except LIBRARY_ERRORS:  # e.g. a router whose choice decides about shapes
            kept = KEPT_PER_BLOCK * micro_batch * states * (blocks - below)
    return _Activations(
        fed=bool(fed and micro_batch),
        kept_bytes=kept,
        blocks=blocks - below,
        input_bytes=micro_batch * states,
        prefix_bytes_per_sequence=states if 0 < below < blocks else 0,
    )


def _saved_by_autograd(decoder: nn.Module, shape: tuple[int, int], compute: Compute) -> int:
    """Bytes that autograd saves in a forward pass of the decoder, without its weights.

    The pass computes nothing and needs no memory. It runs in a copy of the decoder that shares its
    tensors: some modules store what they compute in a pass.
    """
    kind = compute.device.type
    memo: dict[int, Any] = {id(t): t for t in (*decoder.parameters(), *decoder.buffers())}
    decoder = copy.deepcopy(decoder, memo).eval()  # in eval mode there is no dropout to save
    storages: dict[int, torch.UntypedStorage] = {}
    with FakeTensorMode():
        tensors = {
            name: torch.empty(p.shape, dtype=torch.float32, device=kind).requires_grad_(
                p.requires_grad
            )
            for name, p in decoder.named_parameters()
        }
        weights = {tensor.untyped_storage()._cdata for tensor in tensors.values()}
        tensors |= {
            name: torch.empty(b.shape, dtype=b.dtype, device=kind)
            for name, b in decoder.named_buffers()
        }

        def pack(tensor: Tensor) -> Tensor:
            # Shapes alone are a reason for transformers to write out the causal mask of each block,
            # (B, 1, P, P), which a real pass leaves to the attention kernel.
            is_mask = tensor.shape == (shape[0], 1, shape[1], shape[1])
            storage = tensor.untyped_storage()
            if storage._cdata not in weights and not is_mask:
                storages[storage._cdata] = storage  # alive, so that no other takes its address
            return tensor

        given = {
            "input_ids": torch.zeros(shape, dtype=torch.int64, device=kind),
            "use_cache": False,
        }
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast(kind, dtype=torch.bfloat16, enabled=compute.bf16),
        ):
            output = torch.func.functional_call(decoder, tensors, (), given)
        assert output is not None
        return sum(storage.nbytes() for storage in storages.values())


def _loss_bytes(model: Any, tokens: int, compute: Compute) -> int:
    """Bytes of the loss at its largest: the logits of a chunk of tokens, and the gradients of the
    output layer and of the hidden states, which the forward pass takes; see
    `common.model.linear_loss`."""
    outputs = _inner(model).get_output_embeddings()
    if outputs is None or not tokens:
        return 0
    weights, (vocabulary, hidden) = outputs.weight.numel(), outputs.weight.shape
    logits = min(CHUNK_TOKENS, tokens) * vocabulary
    chunk = 12 * logits  # the logits, their exponentials and the probe's products, in float32
    if compute.bf16:
        chunk += 2 * logits + 2 * weights  # the product's gradient and the cast weight
    gradient = 4 * weights * outputs.weight.requires_grad
    if gradient and compute.bf16:
        chunk += 2 * weights  # what a chunk adds to the gradient
    # After the last chunk the gradient is scaled into another tensor.
    return gradient + max(chunk, gradient) + 4 * tokens * hidden


def _trains_tied_embeddings(model: Any) -> bool:
    inner = _inner(model)
    inputs, outputs = inner.get_input_embeddings(), inner.get_output_embeddings()
    tied = outputs is not None and outputs.weight is inputs.weight
    return tied and inputs.weight.requires_grad


def _inner(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _decoder(model: Any) -> Any:
    return model if model.get_output_embeddings() is None else decoder_of(model)
