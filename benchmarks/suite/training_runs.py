"""Training runs that experiments share: named by what they are, made once, resumed after a kill.

Cells ask for a run by its options. Equal options are one run in `<domain>-<hash>`, whatever asks
for it. Beside the folder lie the configuration it was started with, `.yaml`, and what it printed,
`.log`. A run is a process of its own, `python -m text.run` or `image.run`, so one that crashes or
leaks memory does not affect the others.

The log is also the lock. The process holds it open and locked, and the system frees it when the
last holder is gone; so after the suite was killed alone, with the run still going on, a new suite
waits for that run instead of writing into its folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.domains import DOMAINS
from benchmarks.suite.cells import differing
from common.config import RunConfig
from common.errors import EXIT_USER_ERROR, UserError
from common.record.provenance import shorten_paths
from common.record.run_folder import RunFolder
from common.tools.files import atomic_write_text, writing
from common.tools.options import dotted, parse_options, read_config, to_yaml

COMMANDS: dict[str, list[str]] = {
    domain: [sys.executable, "-m", f"{domain}.run"] for domain in DOMAINS
}
# They say where things lie and how a run is started, not what it computes.
NO_IDENTITY = frozenset(
    {
        "name",
        "out",
        "resume",
        "overwrite",
        "dry_run",
        "json",
        "tracker",
        "train.keep_checkpoints",
        "measure.share_original",
        "data.codes",
        "data.root",
    }
)
# What a run did before an option existed, where that is not the option's default.
BEFORE_IT_EXISTED = {"train.save_dtype": "fp32"}
HASH_LETTERS = 12
WAIT_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Notify = Callable[[str], None]


class RunFailedError(UserError):
    """A training run did not end with results; the message is the one it gave."""

    def __init__(self, message: str) -> None:
        ValueError.__init__(self, " ".join(message.split()))


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that somebody needs.

    Attributes:
        domain: text or image.
        config: all its options; where it goes is not among them.
        repeat: makes another run of equal options.
        stands_for: options whose value is only where this machine keeps something, and what it is.
    """

    domain: str
    config: RunConfig
    repeat: int = 0
    stands_for: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def options(self) -> dict[str, Any]:
        """Dotted options that decide what it computes, with no folder of this machine in them."""
        return _identity(self.config) | dict(self.stands_for)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The same options as they are unless somebody sets them: what a result means by leaving
        one out that did not exist when it was made."""
        model = {"model": dotted(self.config)["model"]}
        unset = parse_options(DOMAINS[self.domain].config_class, model, prog=f"{self.domain}.run")
        return _identity(unset) | BEFORE_IT_EXISTED

    @cached_property
    def name(self) -> str:
        """ "text-0123456789ab"."""
        identity = [self.domain, self.options, self.repeat]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.domain}-{digest[:HASH_LETTERS]}"


def _identity(config: RunConfig) -> dict[str, Any]:
    return {
        name: _shortened(value) for name, value in dotted(config).items() if name not in NO_IDENTITY
    }


def plan_run(
    domain: str,
    options: dict[str, Any],
    *,
    repeat: int = 0,
    stands_for: Mapping[str, str] | None = None,
) -> PlannedRun:
    """The run of these dotted options; see `PlannedRun` for the others.

    Raises:
        UserError: an option that the domain does not know, or a value of the wrong type.
    """
    config = parse_options(DOMAINS[domain].config_class, options, prog=f"{domain}.run")
    return PlannedRun(domain=domain, config=config, repeat=repeat, stands_for=stands_for or {})


class Runs:
    """The folder of the shared runs.

    Args:
        folder: made with the first run.
        notify: receives a line of progress.
    """

    def __init__(self, folder: Path, notify: Notify) -> None:
        self.folder, self.notify = folder, notify
        self._failed: dict[str, str] = {}

    def path(self, run: PlannedRun) -> Path:
        """Folder of a run."""
        return self.folder / run.name

    def finished(self, run: PlannedRun) -> bool:
        """Whether its figures are there."""
        return os.path.isfile(RunFolder(self.path(run)).metrics)

    def ensure(self, run: PlannedRun) -> Path:
        """Make a run, go on with an interrupted one, or find it done; gives its folder.

        Its checkpoints are deleted then: the model stays, and nothing goes on from a finished run.

        Raises:
            RunFailedError: it ended without figures, with the line it gave.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, which the run got too.
        """
        if run.name in self._failed:  # several cells share it, and one attempt is enough
            raise RunFailedError(self._failed[run.name])
        try:
            return self._ensure(run)
        except UserError as error:
            self._failed[run.name] = str(error)
            raise

    def _ensure(self, run: PlannedRun) -> Path:
        folder, log = self.path(run), self.folder / f"{run.name}.log"
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(log) as output:
            if not self.finished(run):
                self._start(run, folder, output)
            with writing(folder):
                shutil.rmtree(RunFolder(folder).checkpoints, ignore_errors=True)
        self._check_options(run, folder)
        return folder

    def _start(self, run: PlannedRun, folder: Path, output: Any) -> None:
        config = self.folder / f"{run.name}.yaml"
        atomic_write_text(config, to_yaml(self._placed(run, folder)))
        word = []
        if os.path.lexists(folder):
            word = ["--resume" if _resumable(folder) else "--overwrite"]
        command = [*COMMANDS[run.domain], "--config", str(config), *word]
        before = output.tell()
        code = _run(command, output)
        if self.finished(run):
            return  # also with code 2: a target that was missed is a result
        printed = Path(output.name).read_bytes()[before:].decode("utf-8", errors="replace")
        errors = [line for line in printed.splitlines() if line.startswith("error: ")]
        if code == EXIT_USER_ERROR and errors:
            raise RunFailedError(errors[-1].removeprefix("error: "))
        ended = f"by signal {-code}" if code < 0 else f"with code {code}"
        raise RunFailedError(f"the run {run.name} ended {ended}; see {Path(output.name).name}")

    def _placed(self, run: PlannedRun, folder: Path) -> RunConfig:
        shared = str(self.folder / "shared_original")
        measure = replace(run.config.measure, share_original=shared)
        config = replace(run.config, name=run.name, out=str(folder), measure=measure)
        return DOMAINS[run.domain].share(config, self.folder)

    @contextmanager
    def _locked(self, log: Path) -> Iterator[Any]:
        with writing(log), log.open("ab") as output:
            announced = False
            while True:
                try:
                    fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not announced:
                        self.notify(f"  another process is at {log.stem}; waiting for it")
                    announced = True
                    time.sleep(WAIT_SECONDS)
            output.seek(0, 2)
            yield output

    def _check_options(self, run: PlannedRun, folder: Path) -> None:
        """A folder that was edited or copied by hand would pass for another run."""
        config = read_config(DOMAINS[run.domain].config_class, RunFolder(folder).config)
        changed = differing(replace(run, config=config).options, run.options)
        if changed:
            raise RunFailedError(
                f"expected the run of these options in {folder.name}; got another "
                f"{', '.join(changed)}; delete that folder"
            )


def _resumable(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("update-*.pt"))


def _run(command: Sequence[str], output: Any) -> int:
    """Exit code of a process that gets our signals once and is waited for.

    It has a session of its own, so that Ctrl-C on a terminal reaches it through us alone: a second
    signal would stop it before its checkpoint is saved.

    Raises:
        KeyboardInterrupt: a signal came; the process has ended.
    """
    requested: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, _frame: FrameType | None) -> None:
        requested.append(number)
        if process is not None:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in _SIGNALS}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for number in requested:  # between the handler and the process
            process.send_signal(number)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if requested:
        raise KeyboardInterrupt
    return code


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return shorten_paths(value, Path.cwd())
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    return value
