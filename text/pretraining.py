"""What pretraining of a text model needs: books, tokenizer, shape and initial weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.pretrain import Pretraining
from text.base_model import new_model, train_tokenizer
from text.books import pack_books, read_books, split_books
from text.model import (
    check_fits,
    check_tokenizer_fits,
    load_model,
    load_tokenizer,
    meta_model,
)
from text.pretrain_config import PretrainConfig
from text.save import save_model

TOKENIZER_BOOKS = 200  # of the training books; more does not change an 8k vocabulary for the better


def prepare(config: PretrainConfig, data: Path) -> Pretraining:
    """Read and tokenise the books.

    Raises:
        UserError: the books or the checkpoint cannot be read, the books are too few, or the two do
            not fit together.
    """
    books = read_books(data, authors=config.authors)
    training, heldout = split_books(books, heldout=config.heldout_books, seed=config.seed)
    if config.init is None:
        tokenizer = train_tokenizer(
            (book.text for book in training[:TOKENIZER_BOOKS]),
            vocab_size=config.vocab_size,
            context=2 * config.length,
        )
        with torch.device("meta"):
            shape = fresh_model(config, tokenizer)
    else:
        tokenizer, shape = load_tokenizer(config.init), meta_model(config.init)
    check_tokenizer_fits(shape, tokenizer)
    check_fits(shape, config.length)
    train_NT = pack_books(training, tokenizer, length=config.length)
    heldout_NT = pack_books(heldout, tokenizer, length=config.length)
    every = max(len(heldout_NT) // config.heldout_sequences, 1)
    heldout_NT = heldout_NT[::every][: config.heldout_sequences]
    note = (
        f"{len(training)} books, {train_NT.numel():,} tokens; held out {len(heldout)} books, "
        f"{heldout_NT.numel():,} tokens"
    )
    return Pretraining(
        notes=[note],
        shape=shape,
        sequences=len(train_NT),
        length=config.length,
        ids=lambda: (train_NT, heldout_NT),
        model=lambda: (
            fresh_model(config, tokenizer) if config.init is None else load_model(config.init)
        ),
        save=lambda model, folder: save_model(model, tokenizer, folder),
    )


def fresh_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model of a run without --init."""
    return new_model(
        tokenizer,
        hidden_size=config.hidden_size,
        layers=config.layers,
        heads=config.heads,
        intermediate_size=config.intermediate_size,
        context=2 * config.length,
    )
