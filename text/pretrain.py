"""Pretrain the small base model that ships with the package, or one like it.

    python -m text.pretrain --data books.jsonl.xz --out runs/text/base

Makes a byte-level BPE tokenizer and a small Llama, trains with the core's loop under warm-up and
linear decay, and writes `model/` (bf16 safetensors), `history.jsonl` (the curve) and
`pretrain.json` (held-out loss before and after, settings, versions). `--init DIR` continues from a
checkpoint instead, with its tokenizer. `--resume` goes on after an interruption, bit-identically.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError, run_cli
from common.inputs import keep_apart, named_paths
from common.options import parse, require
from common.pretrain import Pretraining, run_pretraining
from common.pretrain_config import check_least
from text.base_model import new_model, train_tokenizer
from text.books import pack_books, read_books, split_books
from text.inputs import model_path
from text.model import (
    check_fits,
    check_tokenizer_fits,
    load_model,
    load_tokenizer,
    meta_model,
)
from text.pretrain_config import PretrainConfig
from text.save import save_model

PROG = "python -m text.pretrain"
MOST_TOKENS = 2**20  # in a vocabulary or a sequence: room for either is made at once
TOKENIZER_BOOKS = 200  # of the training books; more does not change an 8k vocabulary for the better


def main(argv: list[str]) -> int:
    config = parse(PretrainConfig, argv, prog=PROG, description=__doc__ or "")
    data = config.data
    if data is None:
        raise UserError(expected="--data FILE", got="nothing", fix="name a .jsonl(.xz) of books")
    read = named_paths("--data", data) + model_path("--init", config.init)
    keep_apart(Path(config.out), read)
    check_least(config, {"length": 2, "heldout_books": 1, "heldout_sequences": 1})
    most = {"vocab_size": MOST_TOKENS, "length": MOST_TOKENS}
    values = ((name, getattr(config, name), bound) for name, bound in most.items())
    require((name, value, value <= bound, f"at most {bound:,}") for name, value, bound in values)
    return run_pretraining(config, [PROG, *argv], lambda: prepare(config, Path(data)))


def prepare(config: PretrainConfig, data: Path) -> Pretraining:
    """Read and tokenise the books.

    Raises:
        UserError: they or the checkpoint cannot be read, are too few, or do not fit together.
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


if __name__ == "__main__":
    sys.exit(run_cli(main))
