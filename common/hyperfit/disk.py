"""How much disk space a run needs, compared with the free space before any weights are loaded."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.hyperfit.checkpoint import KEEP
from common.hyperfit.optimizer import BYTES_OF_MOMENTS

GB = 10**9
# Per trained weight, in fp32: the weight, and that of the best state. The moments come on top.
WEIGHT_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class DiskNeed:
    """Bytes of a run's folder, without report, samples and history, which are some MB.

    Attributes:
        peak: the most, while the run lasts.
        final: after its end.
    """

    peak: int
    final: int

    def __str__(self) -> str:
        return f"{_told(self.peak)} of disk at most, {_told(self.final)} at the end"


def disk_need(
    *,
    parameters: int,
    trained: int,
    bytes_per_weight: int,
    keeps_checkpoints: bool,
    bytes_of_moments: float = BYTES_OF_MOMENTS["adamw"],
) -> DiskNeed:
    """The disk space that a run needs.

    Args:
        parameters: of the model that is saved.
        trained: weights in a checkpoint.
        bytes_per_weight: of the saved model.
        keeps_checkpoints: whether the checkpoints stay after the run has ended.
        bytes_of_moments: of the optimizer, per trained weight.
    """
    checkpoint = round((WEIGHT_BYTES + bytes_of_moments) * trained)
    model = parameters * bytes_per_weight
    kept = KEEP * checkpoint
    # A checkpoint is written before the oldest is removed, and the model before all are removed.
    return DiskNeed(
        peak=kept + max(checkpoint, model), final=model + (kept if keeps_checkpoints else 0)
    )


def check_disk(need: DiskNeed, out: Path) -> None:
    """Refuse a run for which the disk has too little space.

    Args:
        need: of the run.
        out: its folder, which need not exist. Model and checkpoints of an earlier run in it are
            replaced, so their space counts as free.

    Raises:
        UserError: the space does not suffice; the message says how much is free.
    """
    place = out.absolute()
    while not os.path.exists(place):
        place = place.parent
    free = shutil.disk_usage(place).free + _replaced_bytes(out)
    if need.peak > free:
        raise UserError(
            expected=f"room for the run in {str(out)!r}: {need}",
            got=f"{_told(free)} free",
            fix="free some space, choose an --out on another disk, or train fewer weights "
            "(train.tune, train.lora_rank)",
        )


def _told(size: int) -> str:
    return f"{size / GB:.1f} GB" if size >= GB / 10 else f"{size / 10**6:.1f} MB"


def _replaced_bytes(out: Path) -> int:
    folders = (out / "checkpoints", out / "model")
    files = (path for folder in folders if os.path.isdir(folder) for path in folder.iterdir())
    return sum(path.stat().st_size for path in files if path.is_file())
