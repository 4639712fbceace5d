"""Checkpoints: what is damaged is noticed, what was there before survives."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import common.hyperfit.checkpoint
from common.errors import UserError
from common.hyperfit.checkpoint import KEEP, Checkpoints


def state(value: int) -> dict[str, Any]:
    return {"weights": {"w": torch.full((100,), float(value))}, "update": value, "best": None}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "new" / "checkpoints")
    for update in (10, 20):
        made.save(update, state(update))
    return made


def newest(checkpoints: Checkpoints) -> tuple[Path, Path]:
    path = checkpoints.folder / "update-00000020.pt"
    return path, path.with_suffix(".json")


def test_round_trip_and_keep(checkpoints: Checkpoints) -> None:
    for update in (30, 40, 100_000_0):
        checkpoints.save(update, state(update))
    assert checkpoints.updates() == [40, 1_000_000] and KEEP == 2
    loaded, notices = checkpoints.load_newest()
    assert loaded["update"] == 1_000_000 and notices == []
    assert torch.equal(loaded["weights"]["w"], torch.full((100,), 1e6))
    assert len(list(checkpoints.folder.iterdir())) == 2 * KEEP  # nothing else is left behind


def cut_short(path: Path, _manifest: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path, _manifest: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path, _manifest: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def lose_the_manifest(_path: Path, manifest: Path) -> None:
    manifest.unlink()


def cut_the_manifest(_path: Path, manifest: Path) -> None:
    manifest.write_text(manifest.read_text()[:10])


@pytest.mark.parametrize(
    "damage", [cut_short, empty, flip_a_bit, lose_the_manifest, cut_the_manifest]
)
def test_damaged_newest_falls_back_with_a_notice(
    checkpoints: Checkpoints, damage: Callable[[Path, Path], None]
) -> None:
    damage(*newest(checkpoints))
    loaded, notices = checkpoints.load_newest()
    assert loaded["update"] == 10
    assert len(notices) == 1 and "update-00000020.pt" in notices[0]


def test_nothing_whole_is_the_users_to_mend(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for path in checkpoints.folder.glob("*.pt"):
        path.write_bytes(b"?")
    with pytest.raises(UserError, match="2 damaged"):
        checkpoints.load_newest()
    with pytest.raises(UserError, match="got none"):
        Checkpoints(tmp_path / "nowhere").load_newest()


def test_drop_after(checkpoints: Checkpoints) -> None:
    checkpoints.drop_after(20)
    assert checkpoints.updates() == [10, 20]
    checkpoints.drop_after(19)
    assert checkpoints.updates() == [10]
    assert checkpoints.load_newest()[0]["update"] == 10


@pytest.mark.parametrize("update", [20, 30])
def test_full_disk_keeps_the_earlier_checkpoints(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, update: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="free some space"):
        checkpoints.save(update, state(0))
    monkeypatch.undo()
    loaded, notices = checkpoints.load_newest()
    assert loaded["update"] == 20 and notices == []
    assert [p for p in checkpoints.folder.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize("calls", [0, 1])
def test_crash_while_replacing_leaves_the_old_or_the_new(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Dies before or after the content of an equally numbered checkpoint is replaced."""
    real = common.hyperfit.checkpoint.atomic_write_bytes

    def crash(path: Path, data: bytes) -> None:
        if calls:
            real(path, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(common.hyperfit.checkpoint, "atomic_write_bytes", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(20, state(21))
    loaded, notices = checkpoints.load_newest()
    assert loaded["update"] == (21 if calls else 20) and notices == []


def test_code_in_a_checkpoint_is_not_run(checkpoints: Checkpoints) -> None:
    class Malice:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("code of a checkpoint was run",))

    checkpoints.save(30, {"x": Malice()})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoints.load_newest()
