"""Which set-ups of a Trainer cannot reach zero loss, or cannot be restored: they are refused."""

from __future__ import annotations

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, IterableDataset
from transformers.training_args import TrainingArguments

from common.errors import UserError


def refuse_unreachable(args: TrainingArguments, model: nn.Module, dataloader: DataLoader) -> None:
    """Refuse smoothed labels, the reload of the best model, sharded parameters and streams.

    Raises:
        UserError: names what is in the way.
    """
    if args.label_smoothing_factor > 0:
        raise UserError(
            expected="label_smoothing_factor 0, since smoothed labels keep zero loss out of reach",
            got=str(args.label_smoothing_factor),
            fix="leave it out of TrainingArguments",
        )
    if args.load_best_model_at_end:
        raise UserError(
            expected="the last weights to be kept, since the best validation loss is that of the "
            "early-stopped model",
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
    """What shards the parameters, None where nothing does.

    A launcher sets FSDP or DeepSpeed up without telling `args`, so accelerate's own state and the
    parameters are asked as well.
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
