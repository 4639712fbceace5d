"""Which parameters a run trains: all of them, some blocks, the output layer, LoRA or not.

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) trains everything. P2 (Li et al., ICML 2026, arXiv
2605.22579, late-stage tuning) puts LoRA on the last 5 blocks only. Its missing controls, the first
and the middle 5 blocks, are one option here. So is full tuning of the same blocks, which separates
the effect of the place from that of the low rank.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from common.errors import UserError, first_line
from common.model.forward_order import parameters_above

_WHERE = re.compile(r"(last|first|middle):([1-9]\d{0,8})(%?)")
_INDICES = re.compile(r"\b\d+\.")  # indices of experts in a list


def decoder_blocks(model: Any) -> tuple[str, nn.ModuleList]:
    """Name and list of the repeated blocks: the outermost `nn.ModuleList` with as many entries as
    the configuration has layers (experts and rotary tables make lists too).

    Raises:
        UserError: there is none, as in a model that runs its blocks several times.
    """
    found = find_blocks(model)
    if found is None:
        raise UserError(
            expected="a model with one list of decoder blocks, which all choices need but "
            "train.tune all without train.lora_rank",
            got=f"{type(model).__name__}, which has none as long as its configuration says",
            fix="set train.tune all and train.lora_rank 0, or choose another model",
        )
    return found


def find_blocks(model: Any) -> tuple[str, nn.ModuleList] | None:
    """As `decoder_blocks`, but None where there are none."""
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            return name, module
    return None


def chosen_blocks(where: str, count: int) -> list[int] | None:
    """Indices of the blocks that `where` names among `count`; None for "all".

    Args:
        where: "all", "head" (no block), "last:5", "first:5" or "middle:5"; if the others are an
            odd number, one more is before the middle. "last:50%" is that share of the blocks,
            rounded half up, at least one: a share suits models of different depth better.

    Raises:
        UserError: an unknown word, more blocks than there are, or a share above 100 %.
    """
    if where == "all":
        return None
    if where == "head":
        return []
    match = _WHERE.fullmatch(where)
    if not match or int(match.group(2)) > (100 if match.group(3) else count):
        raise UserError(
            expected="train.tune to be all, head, a share of the blocks such as last:50%, or "
            f"last:K, first:K or middle:K with K up to {count}",
            got=repr(where),
            fix="change train.tune",
        )
    k = int(match.group(2))
    if match.group(3):
        k = max((k * count + 50) // 100, 1)
    start = {"first": 0, "last": count - k, "middle": (count - k + 1) // 2}[match.group(1)]
    return list(range(start, start + k))


def prepare_tuning(
    model: Any, *, where: str, lora_rank: int, freeze_embeddings: bool = False
) -> Any:
    """Set what is trainable and return the model to train, peft-wrapped when LoRA is on.

    Args:
        model: a transformers causal LM; changed in place.
        where: see `chosen_blocks`. Without LoRA, "all" includes embeddings, head and norms,
            "last:K" and "last:P%" the final norm, and "head" is the final norm and the output
            layer; where that is tied to the embeddings it stays so, see `tuning_notices`.
        lora_rank: 0 tunes the weights themselves, else LoRA of this rank on every linear layer of
            the chosen blocks (alpha = 2 * rank, no dropout); `tuning_notices` reports what it
            leaves out.
        freeze_embeddings: freeze the embeddings and the output layer; LoRA and chosen blocks
            freeze them anyway.

    Raises:
        UserError: `where` does not fit the model, the rank is negative, LoRA or frozen embeddings
            come with "head", the model has no list of blocks or does not support LoRA, or peft
            is missing.
    """
    if lora_rank < 0:
        raise UserError(
            expected="train.lora_rank to be at least 0", got=f"{lora_rank}", fix="0 is without LoRA"
        )
    if where == "head" and (lora_rank or freeze_embeddings):
        raise UserError(
            expected="train.tune head without train.lora_rank and train.freeze_embeddings",
            got="one of them",
            fix="the output layer is all that head trains: leave the other option out",
        )
    if lora_rank == 0:
        _unfreeze(model, where)
        if freeze_embeddings:
            model.get_input_embeddings().requires_grad_(False)
            model.get_output_embeddings().requires_grad_(False)
        return model
    name, blocks = decoder_blocks(model)
    chosen = chosen_blocks(where, len(blocks))
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(
            expected="the package peft for train.lora_rank above 0",
            got="it is not installed",
            fix='pip install "hyperfitting[lora]"',
        ) from error
    targets = [
        f"{name}.{index}.{inner}"
        for index in (range(len(blocks)) if chosen is None else chosen)
        for inner in _linear_layers(blocks[index])
    ]
    config = LoraConfig(
        r=lora_rank,
        lora_alpha=2 * lora_rank,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft up to 0.21 asks for an attribute that transformers 5.23 has renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        try:
            return get_peft_model(model, config)
        except ValueError as error:  # e.g. Mamba, whose kernels read the weights directly
            raise UserError(
                expected="a model that supports LoRA on its linear layers, for train.lora_rank",
                got=f"{type(model).__name__} ({first_line(error)})",
                fix="set train.lora_rank 0",
            ) from error


def tuning_notices(model: Any, where: str) -> list[str]:
    """One line for each effect of `where` that a user may not expect, and for a share of blocks.

    Args:
        model: from `prepare_tuning`.
        where: the argument of `prepare_tuning`.
    """
    notices = []
    outputs, inputs = model.get_output_embeddings(), model.get_input_embeddings()
    if where == "head" and outputs.weight is inputs.weight:
        notices.append(
            "note: the output layer is tied to the embeddings, so train.tune head changes what "
            "enters the first block as well"
        )
    if where.endswith("%"):
        inner = model.get_base_model() if hasattr(model, "peft_config") else model
        count = len(decoder_blocks(inner)[1])
        chosen = chosen_blocks(where, count)
        assert chosen is not None, where
        notices.append(f"train.tune {where}: {len(chosen)} of {count} blocks")
    if hasattr(model, "peft_config"):
        left_out = _left_out_by_lora(model.get_base_model(), where)
        notices += [] if left_out is None else [left_out]
    return notices


def _left_out_by_lora(model: Any, where: str) -> str | None:
    """A line that names the matrices of the chosen blocks without LoRA, such as experts in one
    3-dimensional parameter, convolutions, states. None if there are none."""
    _, blocks = decoder_blocks(model)
    chosen = chosen_blocks(where, len(blocks))
    names: set[str] = set()
    left_out = total = 0
    for index in range(len(blocks)) if chosen is None else chosen:
        adapted = tuple(
            f"{name}." for name, module in blocks[index].named_modules() if _has_lora(module)
        )
        for name, parameter in blocks[index].named_parameters():
            if ".lora_" in name:
                continue
            total += parameter.numel()
            if parameter.ndim > 1 and not name.startswith(adapted):
                left_out += parameter.numel()
                names.add(_INDICES.sub("", name))
    if not names:
        return None
    return (
        f"note: LoRA tunes linear layers and leaves out {', '.join(sorted(names))}: "
        f"{100 * left_out / total:.0f} % of the weights of the tuned blocks"
    )


def merged(model: Any) -> Any:
    """The plain model: LoRA weights merged in, or the model itself."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _unfreeze(model: Any, where: str) -> None:
    """Make the parameters that `where` names trainable, and freeze all others."""
    model.requires_grad_(where == "all")
    if where == "all":
        return
    _, blocks = decoder_blocks(model)
    for index in chosen_blocks(where, len(blocks)) or ():
        blocks[index].requires_grad_(True)
    if where == "head" or where.startswith("last"):
        for parameter in parameters_above(model, blocks):
            parameter.requires_grad_(True)
    if where == "head":
        model.get_output_embeddings().requires_grad_(True)


def _linear_layers(block: nn.Module) -> Iterator[str]:
    """Names of a block's linear layers; GPT-2's transposed Conv1D counts as one. A subclass with a
    forward pass of its own (a router that chooses, grouped layers) does not count.
    """
    for name, module in block.named_modules():
        if type(module).forward in (nn.Linear.forward, Conv1D.forward):
            yield name


def _has_lora(module: nn.Module) -> bool:
    return hasattr(module, "lora_A")
