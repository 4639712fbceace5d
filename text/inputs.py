"""What the text commands read on this machine, so that it is kept apart from what they write."""

from __future__ import annotations

from common.causal_lm import EMBEDDED
from common.inputs import Named, named_paths
from text.config import HELDOUT, TextRunConfig
from text.corpus import corpus_path
from text.known_models import INSTALLED


def model_path(option: str, model: str | None) -> list[Named]:
    """The folder or file of a model; none for names that we know and for hub ids."""
    known = {EMBEDDED, *(one.name for one in INSTALLED)}
    return [] if model in known else named_paths(option, model)


def run_inputs(config: TextRunConfig) -> tuple[list[Named], list[Named]]:
    """What a run reads: model and shared measurements, and the sources of data."""
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
