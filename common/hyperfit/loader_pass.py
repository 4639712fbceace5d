"""The full pass of the callback, over a Trainer's own data and with its collate function."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common.errors import UserError
from common.tools.modules import eval_mode

Measured = TypeVar("Measured")


def loss_and_accuracy(
    model: nn.Module, dataloader: DataLoader, *, batch_size: int, device: torch.device
) -> tuple[float, float | None]:
    """Mean loss over a causal LM's training set in eval mode, nats per token, and the accuracy.

    The accuracy is the share of tokens that are the model's first choice; None for a model that
    returns no logits. Every label other than -100 after the first position counts once, whatever
    the batch size.

    Args:
        model: returns a `loss` that is the mean over the labels of the batch.
        dataloader: has the data set and the collate function; it is not iterated.
        batch_size: sequences per forward pass.
        device: where the model is.

    Raises:
        UserError: all labels are -100.
    """
    batches = DataLoader(dataloader.dataset, batch_size, collate_fn=dataloader.collate_fn)
    total_nats, tokens = torch.zeros((), dtype=torch.float64), 0
    correct: int | None = 0
    # A DataLoader draws a seed from the global generator each time it is iterated.
    with eval_mode(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        for batch in batches:
            batch = {
                name: value.to(device) if isinstance(value, Tensor) else value
                for name, value in batch.items()
            }
            labels = batch.get("shift_labels", batch["labels"][..., 1:])
            count = int((labels != -100).sum())
            if count:
                output = model(**batch)
                total_nats += output.loss.double().cpu() * count
                tokens += count
                logits = getattr(output, "logits", None)
                if logits is None or correct is None:
                    correct = None
                    continue
                # Position t predicts token t + 1. `shift_labels`, where given, are shifted already.
                choices = logits.argmax(dim=-1)[..., : labels.shape[-1]]
                correct += int((choices == labels).sum())
    if tokens == 0:
        raise UserError(
            expected="labels to learn in the training set",
            got="-100 everywhere",
            fix="check the data collator",
        )
    return float(total_nats) / tokens, None if correct is None else correct / tokens


def of_first_process(measured: Measured) -> Measured:
    """What process 0 measured, in every process of a data-parallel run.

    Each process makes the full pass, and devices may round differently. Processes that then decide
    differently would wait for each other for ever.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return measured
    received = [measured]
    torch.distributed.broadcast_object_list(received, src=0)
    return received[0]
