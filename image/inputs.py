"""What the image commands read on this machine, so that it is kept apart from what they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.causal_lm import EMBEDDED
from common.inputs import Named, keep_apart, local_path, named_paths
from image.config import ImageRunConfig
from image.sources import TORCHVISION


def check_inputs(
    out: str,
    *,
    sources: Mapping[str, str | None],
    root: tuple[str, str],
    models: Mapping[str, str | None] | None = None,
    extractors: tuple[str, Sequence[str]] = ("", ()),
) -> None:
    """Refuse inputs in the place of the output, and an output among the images.

    Args:
        out: what is written.
        sources: option -> source of images.
        root: option, and where cifar10 and fashion-mnist are kept.
        models: option -> model, tokenizer, or a folder of any other kind.
        extractors: option, and extractors.

    Raises:
        UserError: names the option.
    """
    given = {option: spec for option, spec in sources.items() if spec is not None}
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
    """The folder of a source; None for the hub, the embedded and the fetched ones."""
    if spec in TORCHVISION or spec.partition(":")[0] in ("embedded", "hub"):
        return None
    return local_path(spec)


def _extractor_path(name: str) -> Path | None:
    """The file or folder of an extractor; None where it needs none."""
    kind, _, rest = name.partition(":")
    return local_path(rest.partition("@")[2] if kind == "timm" else rest)
