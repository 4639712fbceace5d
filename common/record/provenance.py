"""Provenance, to reproduce a result: versions, machine, commit, seed, command line, date.

It never raises: a result without its commit is better than no result. Paths are shortened, so that
a shared result does not reveal the folders of its author.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from common.model.origin import ModelOrigin, shorten_paths

DISTRIBUTION = "hyperfitting"
_PACKAGES = (DISTRIBUTION, "transformers", "accelerate", "numpy")
CHECKOUT = Path(__file__).resolve().parent.parent.parent


def provenance(
    seed: int, command: Sequence[str], *, model: ModelOrigin | None = None
) -> dict[str, Any]:
    """Everything that identifies a run, ready for JSON.

    Args:
        seed: the run's seed.
        command: its argv.
        model: the original model, if the command uses one.

    Returns:
        "model" (where one is given), "seed", "command", "date_utc" (ISO 8601), "python",
        "platform", "cpu" (its model), "cpu_cores" (available to this process), "cpu_threads" (used
        by torch), "device" (accelerator, or "cpu"), "versions" (package -> version, None
        where not installed), "git_commit" and "git_dirty" (None outside a checkout).
    """
    import torch  # heavy, and a command that only plans runs needs none

    commit, dirty = git_state(CHECKOUT)
    return {
        **({} if model is None else {"model": model.to_json()}),
        "seed": seed,
        "command": [shorten_paths(argument, Path.cwd()) for argument in command],
        "date_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_cores": _cpu_cores(),
        "cpu_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        # Only torch itself knows its build ("+cpu", "+cu130").
        "versions": {name: _version(name) for name in _PACKAGES}
        | {"torch": str(torch.__version__)},
        "git_commit": commit,
        "git_dirty": dirty,
    }


def git_state(root: Path) -> tuple[str | None, bool | None]:
    """(commit, has uncommitted changes) of the checkout whose top is `root`, else (None, None).

    Changes of result files do not count: results are the output of the code and no part of it. A
    package installed inside another project's checkout must not report that project's commit, so
    the top folder is compared.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root.resolve():
        return None, None
    excluded = [f":(exclude){path}" for path in _result_paths(root)]
    changes = _git(root, "status", "--porcelain", "--", ".", *excluded)
    return commit, None if changes is None else bool(changes)


def _result_paths(root: Path) -> list[str]:
    """Files of the checkout that are results, as its pyproject.toml lists them."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return project.get("tool", {}).get(DISTRIBUTION, {}).get("results", [])


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _cpu_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
