"""The disk a run is said to take, against the files of a training state and of a saved model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import tiny_model

import common.hyperfit.disk
from common.errors import UserError
from common.hyperfit.checkpoint import KEEP, Checkpoints
from common.hyperfit.disk import DiskNeed, check_disk, disk_need
from common.tools.modules import copy_weights, trainable_parameters


def test_against_the_files_of_a_state_and_a_model(tmp_path: Path) -> None:
    model: Any = tiny_model("llama", vocab_size=10_000)
    count = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 4, dtype=torch.int64)).logits.sum().backward()
    optimizer.step()
    state = {
        "weights": copy_weights(trainable_parameters(model)),
        "optimizer": optimizer.state_dict(),
        "best": {"weights": copy_weights(trainable_parameters(model))},
    }
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for update in range(1, KEEP + 1):
        checkpoints.save(update, state)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "model")

    def written(folder: str) -> int:
        return sum(path.stat().st_size for path in (tmp_path / folder).iterdir())

    sizes: dict[str, int] = {"parameters": count, "trained": count, "bytes_per_weight": 2}
    kept = disk_need(**sizes, keeps_checkpoints=True)
    assert written("checkpoints") + written("model") == pytest.approx(kept.final, rel=0.05)
    need = disk_need(**sizes, keeps_checkpoints=False)
    assert written("model") == pytest.approx(need.final, rel=0.05)
    # One checkpoint more than are kept, for the moment of writing.
    assert need.peak == kept.peak == KEEP * 16 * count + 16 * count
    few = disk_need(parameters=count, trained=1, bytes_per_weight=4, keeps_checkpoints=False)
    assert few.peak == 4 * count + KEEP * 16 and few.final == 4 * count


def test_what_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def usage(place: Path) -> Any:
        asked.append(Path(place))
        return shutil._ntuple_diskusage(10**10, 9 * 10**9, 10**9)  # type: ignore[attr-defined]

    monkeypatch.setattr(common.hyperfit.disk.shutil, "disk_usage", usage)
    check_disk(DiskNeed(peak=10**9, final=0), tmp_path / "new" / "run")
    assert asked == [tmp_path]  # the folder above that is there
    need = DiskNeed(peak=1_600_000_000, final=300_000_000)
    message = r"run'.*1\.6 GB of disk at most, 0\.3 GB at the end; got 1\.0 GB free; free some"
    with pytest.raises(UserError, match=message):
        check_disk(need, tmp_path / "run")
    # What an earlier run keeps there makes room when it goes.
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with (tmp_path / "run" / "checkpoints" / "update-00000001.pt").open("wb") as file:
        file.truncate(700_000_000)  # takes no room: it is sparse
    check_disk(need, tmp_path / "run")
