"""Checkpoints that survive a crash: each is verified when read, and the newest whole one is used.

A checkpoint is one file, `update-00000640.pt`, beside a small manifest with its length and CRC. A
file that does not match its manifest, or has none, is damaged. Then the checkpoint before it is
used, and the caller receives a notice. The manifest is written first. Where a checkpoint of the
same number is replaced, the manifest also describes the old content. So a crash at any moment
leaves a file that matches its manifest. The last `KEEP` checkpoints are kept.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common.errors import UserError
from common.tools.files import atomic_write_bytes, atomic_write_text, writing

KEEP = 2
_NAME = re.compile(r"update-(\d{8})\.pt")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: made when the first checkpoint is written.
        claim: receives the paths of files before they are written, see `Manifest.claim`.
    """

    def __init__(self, folder: Path, claim: Callable[..., None] | None = None) -> None:
        self.folder, self._claim = folder, claim

    def save(self, update: int, state: dict[str, Any]) -> None:
        """Write the state after `update` updates and drop all but the `KEEP` newest.

        Args:
            update: optimizer updates done; a checkpoint of the same number is replaced.
            state: tensors, numbers, strings, lists and dicts of them.

        Raises:
            UserError: the disk is full or read-only; earlier checkpoints stay.
        """
        data = pack(state)  # in memory, so that its checksum is known before a byte is written
        path = self._path(update)
        if self._claim is not None:
            self._claim(path, self._manifest(path))
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        manifest: dict[str, Any] = _fingerprint(data)
        if path.exists():
            manifest["replaces"] = _fingerprint(path.read_bytes())
        atomic_write_text(self._manifest(path), json.dumps(manifest) + "\n")
        atomic_write_bytes(path, data)
        for old in self.updates()[:-KEEP]:
            self._remove(old)

    def updates(self) -> list[int]:
        """Update numbers of all checkpoint files, whole or damaged, in ascending order."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match.group(1)) for match in matches if match)

    def load_newest(self) -> tuple[dict[str, Any], list[str]]:
        """The newest whole state, and a notice for each newer file that is damaged.

        Raises:
            UserError: there is no whole checkpoint.
        """
        notices: list[str] = []
        for update in reversed(self.updates()):
            path = self._path(update)
            data = path.read_bytes()
            if _fingerprint(data) in self._known_contents(path):
                return unpack(data), notices
            notices.append(f"checkpoint {path.name} is damaged or cut short; trying the one before")
        raise UserError(
            expected=f"a whole checkpoint in {str(self.folder)!r}",
            got=f"{len(notices)} damaged ones" if notices else "none",
            fix="start the run again with --overwrite true",
        )

    def drop_after(self, update: int) -> None:
        """Remove the checkpoints of later updates, after the run has gone back to `update`."""
        for later in self.updates():
            if later > update:
                self._remove(later)

    def _path(self, update: int) -> Path:
        return self.folder / f"update-{update:08d}.pt"

    @staticmethod
    def _manifest(path: Path) -> Path:
        return path.with_suffix(".json")

    def _known_contents(self, path: Path) -> list[dict[str, int]]:
        """The fingerprints in the manifest of a checkpoint; none where it is missing or broken."""
        try:
            manifest = json.loads(self._manifest(path).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return []
        before = manifest.pop("replaces", None)
        return [manifest] if before is None else [manifest, before]

    def _remove(self, update: int) -> None:
        with writing(self.folder):
            self._path(update).unlink(missing_ok=True)
            self._manifest(self._path(update)).unlink(missing_ok=True)


def pack(state: dict[str, Any]) -> memoryview:
    """Serialise a state, without a second copy of it; the counterpart of `unpack`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def unpack(data: bytes | memoryview) -> dict[str, Any]:
    """Read a packed state onto the CPU, without running any code from it."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _fingerprint(data: bytes | memoryview) -> dict[str, int]:
    return {"bytes": len(data), "crc32": zlib.crc32(data)}
