"""The folder of a run, and the JSON form of its results.

`--out DIR` holds `config.yaml`, `metrics.json` (schema 1, in `schema/`), `history.jsonl`,
`samples.jsonl`, `report.json` (title and the domain's own sections, so that the page can be built
again), `report.html`, `model/` and `checkpoints/`. Every file is listed before it is made
(`common.record.manifest`), and `--overwrite` deletes only listed files.

JSON has no NaN. In the history a number that is not finite becomes null, because a NaN loss has to
be recorded. In the metrics only two values may be null: a perplexity that overflows, and a final
loss that is not finite or was not measured. A NaN anywhere else is a bug and is not written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.record.journal import Journal
from common.record.manifest import MANIFEST, Manifest, remove_leftovers
from common.record.metrics_json import SCHEMA_VERSION, finite_or_null
from common.record.resuming import check_same_configuration
from common.tools.files import atomic_write_text, is_temporary, writing
from common.tools.jsonl import read_jsonl, to_jsonl

MARK = "# A hyperfitting run: this folder's files are replaced by --overwrite."
TRACKER_FOLDER = "tracker"  # folder of the trackers that write files


@dataclass(frozen=True)
class RunFolder:
    """Paths, readers and writers of one run's output; `create` makes or reopens one.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        config_yaml: str,
        overwrite: bool = False,
        resume: bool = False,
        may_differ: Collection[str] = (),
        tell: Callable[[str], None] | None = None,
    ) -> RunFolder:
        """Make the folder, empty that of a former run, or reopen one to resume it.

        Args:
            path: `--out`; parents are created.
            config_yaml: the whole configuration, as YAML text.
            overwrite: remove the files that a former run wrote there; other files stay.
            resume: keep everything; the folder must hold checkpoints and the same configuration.
            may_differ: dotted keys that a resumed run may change ("out"; a parent covers its
                children).
            tell: called with a notice if files that are not ours stay in the folder.

        Raises:
            UserError: the folder is not empty, is not ours, has nothing to resume or another
                configuration, or cannot be written.
        """
        folder = cls(path)
        if overwrite and resume:
            raise UserError(
                expected="one of --overwrite and --resume", got="both", fix="leave one of them out"
            )
        entries = folder._entries()
        if resume:
            folder._check_resumable(config_yaml, may_differ)
        elif entries and not overwrite:
            raise UserError(
                expected="a new or empty output folder",
                got=f"{str(path)!r} with {len(entries)} entries",
                fix="choose another --out, or pass --overwrite or --resume",
            )
        elif entries and not folder.manifest.exists():
            raise folder._not_ours()
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            remove_leftovers(path)
        if not resume:
            # config.yaml is replaced, not removed, so that an interruption leaves a valid folder.
            folder.manifest.remove_files(keep=[folder.config.name])
        notice = folder.manifest.foreign_notice()
        folder.manifest.begin(folder.config, folder.history)
        # This also checks, before any work is done, that the folder can be written.
        atomic_write_text(folder.config, f"{MARK}\n{config_yaml}")
        if resume and folder.history.exists():
            folder._rewrite_history(folder.read_history())  # drops an incomplete last line
        if notice is not None and tell is not None:
            tell(notice)
        return folder

    def write_text(self, path: Path, text: str) -> None:
        """Write a file of this folder atomically.

        Raises:
            UserError: the disk is full or read-only, or the user has no permission.
        """
        self.manifest.claim(path)
        atomic_write_text(path, text)

    @property
    def manifest(self) -> Manifest:
        """The list of files that are ours."""
        return Manifest(self.path)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def ended(self) -> dict[str, Any] | None:
        """The metrics of a finished run, which has written its report; None for any other."""
        return self.read_metrics() if os.path.isfile(self.report) else None

    def drop_checkpoints(self) -> None:
        """Delete the checkpoints, but only files that are ours.

        Raises:
            UserError: they cannot be deleted.
        """
        below = f"{self.checkpoints.name}/"
        self.manifest.remove_files(
            keep=[name for name in self.manifest.files() if not name.startswith(below)]
        )

    @property
    def journal(self) -> Journal:
        """The history as a training loop writes it."""
        return Journal(write=self.append_history, forget_after=self.truncate_history)

    def append_history(self, record: Mapping[str, Any]) -> None:
        """Add one line to the history; numbers that are not finite become null."""
        assert "kind" in record, record
        clean = {key: finite_or_null(value) for key, value in record.items()}
        with writing(self.history), self.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")

    def read_history(self) -> list[dict[str, Any]]:
        """All records, without a last line that a crash left incomplete; none without a file."""
        return read_jsonl(self.history)

    def truncate_history(self, update: int) -> None:
        """Drop every record after `update`, because a run resumed there writes them again."""
        self._rewrite_history(r for r in self.read_history() if r["update"] <= update)

    def write_samples(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """Write one JSON object per (prompt, condition)."""
        self.write_text(self.samples, to_jsonl(samples))

    def read_samples(self) -> list[dict[str, Any]]:
        """All samples, in file order; none without a file."""
        return read_jsonl(self.samples)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `make_metrics`'s dict.

        Raises:
            ValueError: a number in it is NaN or infinite.
        """
        self.write_text(self.metrics, json.dumps(metrics, indent=1, allow_nan=False) + "\n")

    def read_metrics(self) -> dict[str, Any]:
        """The metrics of a finished run.

        Raises:
            UserError: the file is missing, is not JSON, or has another schema.
        """
        try:
            metrics = json.loads(self.metrics.read_text(encoding="utf-8"))
            schema = metrics["schema"]
        except OSError as error:
            raise _not_a_run(self.path, f"no metrics.json ({error.strerror})") from error
        except (ValueError, TypeError, KeyError) as error:
            raise _not_a_run(self.path, "a metrics.json that is not ours") from error
        if schema != SCHEMA_VERSION:
            raise _not_a_run(self.path, f"schema {schema!r} where {SCHEMA_VERSION} is known")
        return metrics

    def read_config(self) -> dict[str, Any]:
        """The configuration of the run.

        Raises:
            UserError: the file is missing, or is not YAML.
        """
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except OSError as error:
            raise _not_a_run(self.path, f"no config.yaml ({error.strerror})") from error
        except (ValueError, yaml.YAMLError) as error:
            raise _not_a_run(self.path, "a config.yaml that is not ours") from error
        if not isinstance(config, dict):
            raise _not_a_run(self.path, "a config.yaml that is not ours")
        return config

    def _entries(self) -> list[Path]:
        """The content of the folder, without temporary files of an interrupted start."""
        if not os.path.lexists(self.path):
            return []
        with writing(self.path):
            entries = [entry for entry in self.path.iterdir() if not is_temporary(entry)]
        return [] if [entry.name for entry in entries] == [MANIFEST] else entries

    def _not_ours(self) -> UserError:
        copied = os.path.isfile(self.config) and self.config.read_bytes().startswith(MARK.encode())
        what = " (a copy of a run, or a run of an earlier version)" if copied else ""
        return UserError(
            expected="a folder that a run of this program wrote",
            got=f"{str(self.path)!r} without our list of files, {MANIFEST}{what}",
            fix="choose another --out, or remove it by hand: only our own files are overwritten",
        )

    def _check_resumable(self, config_yaml: str, may_differ: Collection[str]) -> None:
        begun = os.path.isdir(self.checkpoints) and os.path.isfile(self.config)
        if begun and not self.manifest.exists():
            raise self._not_ours()
        if not begun:
            raise UserError(
                expected="a run with checkpoints to resume",
                got=f"{str(self.path)!r} without any",
                fix="give the --out of the interrupted run, or leave out --resume",
            )
        if not any(not is_temporary(entry) for entry in self.checkpoints.iterdir()):
            raise UserError(
                expected="a checkpoint to resume from",
                got=f"an empty {str(self.checkpoints)!r}",
                fix="start again with --overwrite",
            )
        check_same_configuration(self.config.read_text(encoding="utf-8"), config_yaml, may_differ)

    def _rewrite_history(self, records: Iterable[Mapping[str, Any]]) -> None:
        atomic_write_text(self.history, to_jsonl(records))


def _not_a_run(path: Path, got: str) -> UserError:
    return UserError(
        expected=f"the folder of a finished run in {str(path)!r}",
        got=got,
        fix="give the --out of a run that ended",
    )
