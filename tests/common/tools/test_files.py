"""Atomic writes and the errors a user can cause."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from common.errors import UserError
from common.tools.files import atomic_write_bytes, atomic_write_text, is_temporary, writing


def test_writes_bytes_and_text_unchanged(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "a", b"\x00\r\n")
    atomic_write_text(tmp_path / "b", "é\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b").read_bytes() == "é\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "can be written"), (errno.EACCES, "change")],
)
def test_a_failed_write_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    target = tmp_path / "metrics.json"
    target.write_text("old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=told) as caught:
        atomic_write_text(target, "new")
    assert os.strerror(number) in str(caught.value)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_really_full_device_is_a_user_error() -> None:
    with (
        pytest.raises(UserError, match="No space left"),
        writing(Path("/dev/full")),
        open("/dev/full", "w") as file,
    ):
        file.write("x")


def test_a_parent_that_is_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file stands where"):
        atomic_write_text(tmp_path / "file" / "x", "y")


def test_safetensors_errors_are_understood_by_their_number() -> None:
    with pytest.raises(UserError, match="free some space"), writing(Path("model")):
        raise SafetensorError("Error while serializing: I/O error: (os error 28)")
    with pytest.raises(SafetensorError), writing(Path("model")):
        raise SafetensorError("invalid header")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"), writing(tmp_path):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    with pytest.raises(OSError, match="no number"), writing(tmp_path):
        raise OSError("no number")


@pytest.mark.parametrize("place", ["/proc/x/y", "/proc/x", "/dev/null/x", "loop/x"])
def test_places_where_nothing_can_be_made(place: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="expected to write .* from the system; choose another"):
        atomic_write_text(tmp_path / place, "x")


def test_a_killed_write_is_recognised_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        os,
        "replace",
        lambda source, target: seen.append(Path(source).name) or os.rename(source, target),
    )
    atomic_write_text(tmp_path / "a.json", "x")
    assert [is_temporary(Path(name)) for name in seen] == [True]
    assert not is_temporary(tmp_path / "a.json")
    assert not is_temporary(tmp_path / ".notes.tmp")
