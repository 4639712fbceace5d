"""The domains of the bench, text and images: what each part of the bench must know of one.

Suite, analyses, evidence, report and the page for people read this table; a third domain is a third
entry. Importing it loads options only: a dry run of the suite and the report need no model code, so
the functions below import theirs when they are called.

`benchmarks.experiments.domains` is something else: the experiment that compares text with images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config import RunConfig
from common.report.names import Reference
from image.config import REFERENCE as IMAGE_REFERENCE
from image.config import ImageRunConfig
from text.config import REFERENCE as TEXT_REFERENCE
from text.config import TextRunConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from common.domain import Domain


@dataclass(frozen=True, kw_only=True)
class BenchDomain:
    """One domain; a run of it is started by `python -m NAME.run`.

    Attributes:
        title: its name in the report.
        truth: the condition that people wrote or photographed, and what the report calls it.
        config_class: options of a run.
        load: reads the data and the original model of a run, given its options.
        load_model: reads the model that a run saved, given its folder.
        share: options of a run that keeps in a folder what other runs can use too.
        sampling: how the condition that samples is called: "original-SAMPLING".
        reference: the condition with which people compare the others. Of images it is the true one
            after the tokenizer, since people would know a real image by its sharpness.
        not_compared: conditions that people are not shown.
    """

    title: str
    truth: Reference
    config_class: type[RunConfig]
    load: Callable[[Any], Domain]
    load_model: Callable[[str], PreTrainedModel]
    share: Callable[[Any, Path], RunConfig]
    sampling: str
    reference: str
    not_compared: tuple[str, ...]


def _load_text(config: TextRunConfig) -> Domain:
    from text.prepare import prepare

    return prepare(config).load()


def _load_images(config: ImageRunConfig) -> Domain:
    from image.prepare import prepare

    return prepare(config).load()


def _load_text_model(path: str) -> PreTrainedModel:
    from text.model import load_model

    return load_model(path)


def _load_image_model(path: str) -> PreTrainedModel:
    from image.model import load_transformer

    return load_transformer(path)


def _share_nothing(config: TextRunConfig, folder: Path) -> RunConfig:
    return config


def _share_codes(config: ImageRunConfig, folder: Path) -> RunConfig:
    return replace(config, data=replace(config.data, codes=str(folder / "codes")))


DOMAINS = {
    "text": BenchDomain(
        title="Text",
        truth=TEXT_REFERENCE,
        config_class=TextRunConfig,
        load=_load_text,
        load_model=_load_text_model,
        share=_share_nothing,
        sampling="top-p",
        reference="human",
        not_compared=(),
    ),
    "image": BenchDomain(
        title="Images",
        truth=IMAGE_REFERENCE,
        config_class=ImageRunConfig,
        load=_load_images,
        load_model=_load_image_model,
        share=_share_codes,
        sampling="sampled",
        reference="reconstruction",
        not_compared=("real",),  # its samples hold the codes of the reconstruction
    ),
}
"""By the name that configurations, cells and runs have, in the report's order."""

TRUTHS = {one.truth.condition: one.truth.words for one in DOMAINS.values()}
"""What the report calls the true continuations, by their condition."""
