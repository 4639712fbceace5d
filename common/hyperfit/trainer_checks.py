"""Refuses the set-ups of a Trainer that cannot reach zero loss or cannot be restored."""

from __future__ import annotations

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, IterableDataset
from transformers.training_args import TrainingArguments

from common.errors import UserError


def refuse_unreachable(args: TrainingArguments, model: nn.Module, dataloader: DataLoader) -> None:
    """Refuse label smoothing, `load_best_model_at_end`, sharded parameters and iterable data sets.

    Raises:
        UserError: the Trainer has one of these; the message names it.
    """
    if args.label_smoothing_factor > 0:
        raise UserError(
            expected="label_smoothing_factor 0, since a model cannot reach zero loss on smoothed "
            "labels",
            got=str(args.label_smoothing_factor),
            fix="leave it out of TrainingArguments",
        )
    if args.load_best_model_at_end:
        raise UserError(
            expected="load_best_model_at_end=False, since the model of the best validation loss is "
            "the early-stopped one, not the hyperfitted one",
            got="load_best_model_at_end=True",
            fix="leave it out of TrainingArguments",
        )
    sharded = _sharded_by(args, model)
    if sharded is not None:
        raise UserError(
            expected="parameters that are whole on each device",
            got=sharded,
            fix="train on one device or with data parallelism",
        )
    if isinstance(dataloader.dataset, IterableDataset):
        raise UserError(
            expected="a training set that can be read again from its start",
            got="an IterableDataset",
            fix="pass a map-style data set; hyperfitting needs few sequences",
        )


def _sharded_by(args: TrainingArguments, model: nn.Module) -> str | None:
    """What shards the parameters; None if nothing does.

    A launcher can set up FSDP or DeepSpeed without an entry in `args`, so this also looks at
    accelerate's state and at the parameters.
    """
    kind = PartialState().distributed_type
    if args.fsdp or kind == DistributedType.FSDP:
        return "FSDP"
    if args.deepspeed or kind == DistributedType.DEEPSPEED:
        return "DeepSpeed"
    if kind == DistributedType.MEGATRON_LM:
        return "Megatron-LM"
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return "parameters that are DTensors"
    return None
