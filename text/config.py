"""Options of `python -m text.run`: the shared ones, the model and the corpora."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common.config import RunConfig
from common.model.recipe import find_recipe
from common.report.names import Reference
from common.tools.options import require
from common.tools.ranges import Count, at_least
from common.tools.values import check_values
from text.known_models import NAMES

DOMAIN = "text"
REFERENCE = Reference("human", "human text")
HELDOUT = "heldout"


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """The texts to train on and the texts to continue.

    A source is a .txt or .jsonl file, a folder of them, hub:OWNER/NAME[:SPLIT], or embedded:NAME
    (tales, stories, news, encyclopedia). Brackets select a part of its documents:
    embedded:news[:32], my.jsonl[-16:], hub:OWNER/NAME:SPLIT[:1000]. "The paper" is P1 (Carlsson et
    al., ICLR 2025, arXiv 2412.04318).
    """

    train: list[str] = dataclasses.field(
        default_factory=lambda: ["embedded:tales", "embedded:stories"]
    )
    """Sources of the training documents: a .txt or .jsonl file, a folder of them,
    hub:OWNER/NAME[:SPLIT], or embedded:NAME (tales, stories, news, encyclopedia). [:1000] after any
    of these takes its first 1000 documents."""
    heldout: list[str] | None = None
    """Sources of the held-out documents; null sets aside heldout_documents of those
    in train."""
    heldout_documents: Count = 64
    """Documents that are set aside: the last ones of each train source, in equal numbers."""
    prompts: dict[str, str] = dataclasses.field(
        default_factory=lambda: {
            "fiction": HELDOUT,
            "news": "embedded:news",
            "encyclopedia": "embedded:encyclopedia",
        }
    )
    """Name of each prompt set and the source of its documents; the source "heldout" is the
    held-out documents."""
    field: str = "text"
    """Field that holds the text in a .jsonl line or hub row."""
    sequences: Count = 64
    """Training sequences, drawn by the seed (the paper: 2000)."""
    length: Annotated[int, at_least(2)] = 128
    """Tokens per training sequence (the paper: 256)."""
    packing: bool = False
    """Join the documents and cut them into sequences, instead of one sequence per document."""
    prompt_tokens: Count = 32
    """Tokens of a document that are given as the prompt."""
    new_tokens: Count = 96
    """Tokens to generate after a prompt."""
    chat_template: Literal["none", "prompts", "all"] = "none"
    """Where to apply the tokenizer's chat template, for instruct models. none: nowhere. prompts:
    each prompt is a user's turn, and its continuation is the model's answer. all: training and
    held-out texts as well; their first prompt_tokens tokens are the user's turn and the rest is the
    answer. The template's own tokens add to prompt_tokens and count towards length."""
    long_new_tokens: Count | None = 224
    """Tokens to generate in a second set of prompts, made for every source with enough documents of
    that length; null is off."""
    max_prompts: Count = 100
    """Most prompts per set (the paper: 100)."""


@dataclass(frozen=True, kw_only=True)
class TextRunConfig(RunConfig):
    """Options of `python -m text.run`."""

    model: str = "embedded"
    """embedded, smollm2, a checkpoint folder, a .gguf file, or a hub id of a causal LM."""
    data: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    """Corpora ("the paper" is Carlsson et al., arXiv 2412.04318)."""

    @staticmethod
    def recipe_of(model: str) -> Path | None:
        """The options that are saved beside a model; see `common.model.recipe`."""
        return None if model in NAMES else find_recipe(DOMAIN, model)


def check_corpus(config: CorpusConfig) -> None:
    """Check the options as far as no file has to be read.

    Raises:
        UserError: an option is out of range; the message names it.
    """
    check_values(config, "data.")
    longer, least = config.long_new_tokens, config.new_tokens + 1
    names = sorted(config.prompts)
    require(
        [
            ("data.long_new_tokens", longer, (longer or least) >= least, f"at least {least}"),
            ("data.train", config.train, bool(config.train), "at least one source"),
            ("data.prompts", names, bool(names), "at least one source"),
            ("data.heldout", config.heldout, config.heldout != [], "at least one source, or null"),
            ("data.prompts", names, "all" not in names, 'names other than "all", the pooled sets'),
        ]
    )
