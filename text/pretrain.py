"""Pretrain the small base model that ships with the package, or one like it.

    python -m text.pretrain --data books.jsonl.xz --out runs/text/base

Makes a byte-level BPE tokenizer and a small Llama, trains with the core's loop under warm-up and
linear decay, and writes `model/` (bf16 safetensors), `history.jsonl` (the curve) and
`pretrain.json` (held-out loss before and after, settings, versions). `--init DIR` continues from a
checkpoint instead, with its tokenizer. `--resume` goes on after an interruption, bit-identically.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate.utils import set_seed
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.checkpoint import Checkpoints
from common.config import parse, to_yaml
from common.decay import LinearDecay
from common.device import make_accelerator, pick_device, should_compile
from common.errors import UserError, run_cli
from common.files import atomic_write_text, writing
from common.head import attach_head
from common.memory import training_gib
from common.preflight import check_finite
from common.probe import probe_sequences
from common.progress import Progress
from common.provenance import provenance
from common.quiet import quiet_transformers
from common.record import RunFolder
from common.train import TrainingLoop
from text.base_model import new_model, train_tokenizer
from text.books import pack_books, read_books, split_books
from text.model import (
    check_fits,
    check_tokenizer_fits,
    disable_dropout,
    load_model,
    load_tokenizer,
    meta_model,
)
from text.pretrain_config import PretrainConfig, check_ranges
from text.save import save_model

PROG = "python -m text.pretrain"
TOKENIZER_BOOKS = 200  # of the training books; more does not change an 8k vocabulary for the better


def main(argv: list[str]) -> int:
    config = parse(PretrainConfig, argv, prog=PROG, description=__doc__ or "")
    quiet_transformers()
    if config.data is None:
        raise UserError(expected="--data FILE", got="nothing", fix="name a .jsonl(.xz) of books")
    check_ranges(config)
    with Progress() as progress:
        books = read_books(Path(config.data), authors=config.authors)
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
        progress.note(
            f"{len(training)} books, {train_NT.numel():,} tokens; held out {len(heldout)} books, "
            f"{heldout_NT.numel():,} tokens"
        )
        progress.note(cost(config, shape, len(train_NT)))
        if config.dry_run:
            return 0
        result = pretrain(config, tokenizer, train_NT, heldout_NT, progress, [PROG, *argv])
    if config.json:
        print(json.dumps(result))
    return 0


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


def cost(config: PretrainConfig, shape: PreTrainedModel, sequences: int) -> str:
    """Size, steps and memory in one line.

    Raises:
        UserError: a batch larger than the training set, or a device that is not there.
    """
    if config.batch_size > sequences:
        raise UserError(
            expected=f"batch_size of at most the {sequences} training sequences",
            got=f"{config.batch_size}",
            fix="lower --batch_size",
        )
    device = pick_device(config.device)
    parameters = sum(p.numel() for p in shape.parameters())
    memory = training_gib(shape, config.micro_batch_size or config.batch_size, config.length)
    return (
        f"{parameters / 1e6:.1f} M parameters; {config.updates:,} updates of {config.batch_size} x "
        f"{config.length} tokens = {config.updates * config.batch_size / sequences:.2f} epochs; "
        f"about {memory:.1f} GiB to train, on {device}"
    )


def pretrain(
    config: PretrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    train_NT: Tensor,
    heldout_NT: Tensor,
    progress: Progress,
    command: list[str],
) -> dict[str, object]:
    """Train, save and measure; returns what `pretrain.json` holds."""
    schedule = LinearDecay(
        learning_rate=config.learning_rate,
        updates=config.updates,
        warmup_updates=config.warmup_updates,
    )
    accelerator = make_accelerator(pick_device(config.device), config.precision)
    compile_body = should_compile(config.compile, accelerator.device, config.updates)
    set_seed(config.seed)
    model = fresh_model(config, tokenizer) if config.init is None else load_model(config.init)
    check_finite(model)
    disable_dropout(model)
    model.to(accelerator.device)
    folder = RunFolder.create(
        Path(config.out),
        config_yaml=to_yaml(config),
        overwrite=config.overwrite,
        resume=config.resume,
        may_differ=("out", "overwrite", "resume", "dry_run", "json"),
    )
    head = attach_head(model, heldout_NT[:2].long().to(accelerator.device))
    micro_batch = config.micro_batch_size or config.batch_size
    before = probe_sequences(head, heldout_NT.long(), batch_size=micro_batch)
    progress.note(f"held-out loss {before.loss_nats.mean:.3f} nats per token")
    task = progress.task("pretraining", config.updates)

    def show(update: int) -> None:
        progress.update(task, completed=update)

    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    loop = TrainingLoop(
        head=head,
        sequences_NT=train_NT,
        heldout_NT=heldout_NT,
        schedule=schedule,
        optimizer=optimizer,
        accelerator=accelerator,
        checkpoints=Checkpoints(folder.checkpoints),
        history=folder.append_history,
        forget_after=folder.truncate_history,
        seed=config.seed,
        batch_size=config.batch_size,
        micro_batch_size=micro_batch,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        validate_every=config.validate_every,
        compile_body=compile_body,
        on_update=show,
    )
    trained = loop.run(resume=config.resume)
    if trained.outcome == "diverged":
        raise UserError(
            expected="a finite training loss", got=trained.message, fix="lower --learning_rate"
        )
    model.bfloat16()
    with writing(folder.model):
        save_model(model, tokenizer, folder.model)
    # Measured on what was saved: the weights after rounding to bf16.
    after = probe_sequences(model.float(), heldout_NT.long(), batch_size=micro_batch)
    result: dict[str, object] = {
        "config": asdict(config),
        "updates": trained.updates,
        "tokens": trained.updates * config.batch_size * config.length,
        "seconds": round(trained.seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "heldout_before": before.to_json(),
        "heldout_after": after.to_json(),
        "provenance": provenance(config.seed, command),
    }
    atomic_write_text(folder.path / "pretrain.json", json.dumps(result, indent=1) + "\n")
    progress.note(f"held-out loss {after.loss_nats.mean:.3f}; model in {folder.model}")
    return result


if __name__ == "__main__":
    sys.exit(run_cli(main))
