"""How much disk a run takes, told and held against what is free before a weight is touched."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.hyperfit.checkpoint import KEEP

GB = 10**9
# Of a checkpoint, for each trained weight: itself, AdamW's two moments and the best one so far.
CHECKPOINT_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class DiskNeed:
    """Bytes of a run's folder; report, samples and history, some MB, are not counted.

    Attributes:
        peak: at most, while it runs.
        final: when it has ended.
    """

    peak: int
    final: int

    def __str__(self) -> str:
        return f"{_told(self.peak)} of disk at most, {_told(self.final)} at the end"


def disk_need(
    *, parameters: int, trained: int, bytes_per_weight: int, keeps_checkpoints: bool
) -> DiskNeed:
    """What a run takes.

    Args:
        parameters: of the model that is saved.
        trained: weights in a checkpoint.
        bytes_per_weight: that a weight is saved in.
        keeps_checkpoints: whether they stay when the run has ended.
    """
    checkpoint, model = CHECKPOINT_BYTES * trained, parameters * bytes_per_weight
    kept = KEEP * checkpoint
    # A checkpoint is whole before the oldest goes; the model is saved before all of them go.
    return DiskNeed(
        peak=kept + max(checkpoint, model), final=model + (kept if keeps_checkpoints else 0)
    )


def check_disk(need: DiskNeed, out: Path) -> None:
    """Refuse a run that its disk cannot hold.

    Args:
        need: of the run.
        out: its folder, which need not be there. Weights and checkpoints of an earlier run in it
            are replaced, so their room counts as free.

    Raises:
        UserError: names the room that is there.
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
