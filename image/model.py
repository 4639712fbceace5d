"""Autoregressive models of image codes: a small Llama of our own, or an ImageGPT.

An image is a sequence: a first token, then its codes row by row. The vocabulary has the K codes,
then the start token with id K, then one token per class (none in an unconditional model). The first
token is the start token or, in a class-conditional model, the token of the image's class. ImageGPT
has the same layout (start = `vocab_size` - 1), although its output layer has no row for the start
token. Both are plain `PreTrainedModel`s, so the core trains and decodes them like any other.

The configuration of a model also holds `image_classes` (their number), `image_class_names`, and
`image_tokenizer`: the fingerprint of the tokenizer whose codes the model was trained on, by which
codes of another tokenizer are refused.

Shapes: N images, L codes of each, T = 1 + L tokens, B sequences, V scores, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_IMAGE_MODELING_MAPPING,
    LlamaForCausalLM,
    LogitsProcessor,
    PretrainedConfig,
    PreTrainedModel,
)

from common.errors import UserError
from common.model.causal_lm import ModelSource, save_greedy
from common.model.small_llama import small_llama
from common.tools.modules import disable_dropout
from image.tokenizer.load import TOKENIZER_FOLDER, ImageTokenizer

SOURCE = ModelSource(
    package="image",
    what="a causal model of image codes",
    examples="the one that python -m image.pretrain writes, or an ImageGPT",
    more=MODEL_FOR_CAUSAL_IMAGE_MODELING_MAPPING,
)
meta_transformer = SOURCE.meta


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the ids of a model mean.

    Attributes:
        codes: K; ids 0 .. K - 1 are codes.
        classes: how many class tokens there are, at K + 1 and above.
        class_names: names of these classes, where they are known.
    """

    codes: int
    classes: int = 0
    class_names: tuple[str, ...] = ()

    @property
    def start(self) -> int:
        """Id of the start token."""
        return self.codes


def vocabulary(model_or_config: PreTrainedModel | PretrainedConfig) -> Vocabulary:
    """The vocabulary of a model, from its configuration."""
    config = _config(model_or_config)
    classes = getattr(config, "image_classes", 0)
    return Vocabulary(
        codes=config.vocab_size - 1 - classes,
        classes=classes,
        class_names=tuple(getattr(config, "image_class_names", ())),
    )


def _config(model_or_config: Any) -> Any:
    return getattr(model_or_config, "config", model_or_config)


def new_transformer(
    *,
    codes: int,
    classes: int,
    tokens: int,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
) -> LlamaForCausalLM:
    """A Llama over codes with random weights.

    Args:
        codes: K, the tokenizer's `vocab_size`.
        classes: how many class tokens; 0 for an unconditional model.
        tokens: L, codes per image.
        hidden_size, layers, heads, intermediate_size: of the decoder.

    Raises:
        UserError: `hidden_size` is not a multiple of twice the number of heads.
    """
    return small_llama(
        vocab_size=codes + 1 + classes,
        hidden_size=hidden_size,
        layers=layers,
        heads=heads,
        intermediate_size=intermediate_size,
        context=tokens + 1,
        # No end token: every image has the same number of codes.
        bos_token_id=codes,
        eos_token_id=None,
        pad_token_id=None,
        image_classes=classes,
    )


def load_transformer(
    path: str, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> PreTrainedModel:
    """The model at `path` ("embedded", a folder or a hub id), in eval mode, dropout set to 0.

    Raises:
        UserError: the model is missing, unreadable or incomplete, or is no causal model.
    """
    model = SOURCE.load(path, dtype=dtype, device=device)
    disable_dropout(model)
    return model


def save_transformer(
    model: PreTrainedModel, folder: Path, *, tokenizer: ImageTokenizer, card: str | None = None
) -> None:
    """Write what `from_pretrained` loads, with the image tokenizer in a folder of its own.

    Args:
        model: a model of image codes, not a peft wrapper.
        folder: created if it does not exist.
        tokenizer: the one that makes these codes.
        card: text of README.md.
    """
    save_greedy(model, folder, card=card, bos_token_id=vocabulary(model).start)
    tokenizer.save(folder / TOKENIZER_FOLDER)


def check_fits(
    model_or_config: PreTrainedModel | PretrainedConfig, tokenizer: ImageTokenizer
) -> None:
    """Refuse a model and a tokenizer that do not belong together.

    Raises:
        UserError: the two have different numbers of codes, the model has too few positions for
            an image, or it was trained on the codes of another tokenizer.
    """
    codes = vocabulary(model_or_config).codes
    if codes != tokenizer.vocab_size:
        raise UserError(
            expected=f"a tokenizer with {codes} codes, as the model has",
            got=f"one with {tokenizer.vocab_size}",
            fix="use the tokenizer that the model was trained with",
        )
    config: Any = _config(model_or_config)
    # The last code predicts nothing and is not fed, so L positions suffice for 1 + L tokens.
    positions, tokens = config.max_position_embeddings, tokenizer.grid**2
    if positions < tokens:
        raise UserError(
            expected=f"images of at most {positions} codes, the model's positions",
            got=f"{tokens} ({tokenizer.grid} x {tokenizer.grid})",
            fix="use the tokenizer that the model was trained with",
        )
    trained_on = getattr(config, "image_tokenizer", None)
    if trained_on is not None and trained_on != tokenizer.fingerprint:
        raise UserError(
            expected=f"the tokenizer that the model was trained with ({trained_on[:12]})",
            got=f"another of the same size ({tokenizer.fingerprint[:12]})",
            fix="use that one, or pretrain a model on the codes of this one",
        )


def sequences(ids_NL: Tensor, *, start: int, labels_N: Tensor | None = None) -> Tensor:
    """(N, T) int64 sequences: the first token, then the codes.

    Args:
        ids_NL: (N, L) codes; L may be 0, for empty prompts.
        start: id of the start token.
        labels_N: class of each image, for a class-conditional model; the token of the class
            replaces the start token.
    """
    assert bool((ids_NL < start).all()), int(ids_NL.max())
    first_N = torch.full((len(ids_NL),), start, dtype=torch.int64)
    if labels_N is not None:
        assert len(labels_N) == len(ids_NL), (len(labels_N), len(ids_NL))
        first_N += 1 + labels_N
    return torch.cat([first_N[:, None], ids_NL.long()], dim=1)


class OnlyCodes(LogitsProcessor):
    """Gives -inf to the start token and the class tokens, which are no codes.

    They are never targets in training, so their probability is small. But sampling would draw one
    sooner or later, and an image that contains one cannot be decoded.

    Args:
        codes: K.
    """

    def __init__(self, codes: int) -> None:
        self.codes = codes

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (B, T), (B, V)
        """(B, V) scores; a model without rows for other tokens (ImageGPT) keeps all of them."""
        allowed_V = torch.arange(scores.shape[-1], device=scores.device) < self.codes
        return scores.where(allowed_V, -torch.inf)
