"""The files that the image commands read, listed so that no output can overwrite them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.tools.inputs import EMBEDDED, Named, check_there, keep_apart, local_path, named_paths
from image.config import ImageRunConfig
from image.pictures.sources import TORCHVISION, check_folder

LOADED = ("--model", "--tokenizer")
"""Options whose folder must exist."""


def check_inputs(
    out: str,
    *,
    sources: Mapping[str, str | None],
    root: tuple[str, str],
    models: Mapping[str, str | None] | None = None,
    extractors: tuple[str, Sequence[str]] = ("", ()),
) -> None:
    """Refuse inputs that do not exist, and an output that is an input or lies among the images.

    Args:
        out: path of the output.
        sources: option -> source of images.
        root: the option and the folder of cifar10 and fashion-mnist.
        models: option -> model, tokenizer, or another folder.
        extractors: the option and the names of the extractors.

    Raises:
        UserError: names the option.
    """
    given = {option: spec for option, spec in sources.items() if spec is not None}
    for spec in given.values():
        if not _is_fetched(spec):
            check_folder(Path(os.path.expanduser(spec)))
    for option in LOADED:
        check_there(
            option,
            (models or {}).get(option),
            expected="'embedded', a checkpoint folder, or a hub id",
        )
    read: list[Named] = []
    if any(spec in TORCHVISION for spec in given.values()):
        read += named_paths(*root)
    for option, name in (models or {}).items():
        read += [] if name == EMBEDDED else named_paths(option, name)
    option, names = extractors
    for name in names:
        path = _extractor_path(name)
        read += [] if path is None else [(option, path)]
    folders = ((option, _source_path(spec)) for option, spec in given.items())
    searched = [(option, folder) for option, folder in folders if folder is not None]
    keep_apart(Path(out), read, searched=searched)


def check_run_inputs(config: ImageRunConfig, out: Path) -> None:
    """`check_inputs` of an image run.

    Raises:
        UserError: names the option.
    """
    data = config.data
    check_inputs(
        str(out),
        sources={"--data.train": data.train, "--data.heldout": data.heldout},
        root=("--data.root", data.root),
        models={
            "--model": config.model,
            "--tokenizer": config.tokenizer,
            "--data.codes": data.codes,
            "--measure.share_original": config.measure.share_original,
        },
        extractors=("--score.extractors", config.score.extractors),
    )


def _source_path(spec: str) -> Path | None:
    """The folder of a source; None for embedded and downloaded images."""
    return None if _is_fetched(spec) else local_path(spec)


def _is_fetched(spec: str) -> bool:
    return spec in TORCHVISION or spec.partition(":")[0] in ("embedded", "hub")


def _extractor_path(name: str) -> Path | None:
    """The file or folder of an extractor; None where it needs none."""
    kind, _, rest = name.partition(":")
    return local_path(rest.partition("@")[2] if kind == "timm" else rest)
