"""The files that the text commands read, listed so that no output can overwrite them."""

from __future__ import annotations

import os

from common.errors import UserError
from common.tools.inputs import EMBEDDED, Named, check_there, named_paths
from text.config import HELDOUT, TextRunConfig
from text.corpus import check_source, corpus_path
from text.known_models import NAMES


def model_path(option: str, model: str | None) -> list[Named]:
    """The folder or file of a model; empty for the names of known models and for hub ids."""
    return [] if model in NAMES | {EMBEDDED} else named_paths(option, model)


def check_model(option: str, model: str | None) -> None:
    """Refuse the path of a model that does not exist.

    Raises:
        UserError: names the path.
    """
    expected = "embedded, smollm2, a checkpoint folder, a .gguf file, or a hub id of a causal LM"
    check_there(option, model, expected=expected)


def check_books(path: str) -> None:
    """Refuse a file of books that does not exist.

    Raises:
        UserError: names the path.
    """
    if not os.path.exists(path):
        raise UserError(
            expected="a .jsonl or .jsonl.xz file of books",
            got=f"{path!r} (No such file or directory)",
            fix="set --data",
        )


def check_sources(config: TextRunConfig) -> None:
    """Refuse a model or a source of documents that does not exist.

    Raises:
        UserError: names the path.
    """
    check_model("--model", config.model)
    data = config.data
    for source in [*data.train, *(data.heldout or []), *data.prompts.values()]:
        if source != HELDOUT:
            check_source(source)


def run_inputs(config: TextRunConfig) -> tuple[list[Named], list[Named]]:
    """The paths that a run reads: first the model and shared measurements, then the corpora."""
    data = config.data
    sources = {
        "--data.train": data.train,
        "--data.heldout": data.heldout or [],
        "--data.prompts": [source for source in data.prompts.values() if source != HELDOUT],
    }
    searched = [(o, path) for o, names in sources.items() for path in map(corpus_path, names)]
    shared = named_paths("--measure.share_original", config.measure.share_original)
    return (
        model_path("--model", config.model) + shared,
        [(option, path) for option, path in searched if path is not None],
    )
