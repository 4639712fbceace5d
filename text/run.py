"""Hyperfit a causal language model and report what became of its greedy decoding.

    python -m text.run                                   the embedded model and corpora, offline
    python -m text.run --model gpt2 --data.train '["my_stories/"]'
    python -m text.run --config configs/text/paper_tinyllama.yaml

Writes config.yaml, metrics.json, history.jsonl, samples.jsonl, report.html, model/ and
checkpoints/ to --out (runs/text/NAME by default).
"""

from __future__ import annotations

import sys

import torch

from common.command import Prepared, run_command
from common.conditions import standard_conditions
from common.config import output_folder
from common.decode_config import sampling_config
from common.errors import run_cli
from common.inputs import keep_apart
from common.options import parse
from common.summary import before_after
from text.config import TextRunConfig
from text.data import load_data
from text.domain import TextDomain
from text.inputs import run_inputs
from text.model import (
    SOURCE,
    check_fits,
    check_tokenizer_fits,
    disable_dropout,
    load_model,
    load_tokenizer,
    meta_model,
)

PROG = "python -m text.run"


def main(argv: list[str]) -> int:
    config = parse(TextRunConfig, argv, prog=PROG, description=__doc__ or "")
    read, searched = run_inputs(config)
    keep_apart(output_folder(config, TextDomain.name), read, searched=searched)
    return run_command(config, [PROG, *argv], lambda: prepare(config))


def prepare(config: TextRunConfig) -> Prepared:
    """Read tokenizer, shape and corpora.

    Raises:
        UserError: one of them cannot be read, or they do not fit together.
    """
    tokenizer = load_tokenizer(config.model)
    shape = meta_model(config.model)
    check_tokenizer_fits(shape, tokenizer)
    data = load_data(config.data, tokenizer, seed=config.seed)
    check_fits(shape, data.longest())
    conditions = standard_conditions(
        config.measure,
        sampled="top-p",
        at_temperature_1=sampling_config(top_p=config.measure.top_p, temperature=1.0, top_k=0),
        references=["human"],
    )

    def load() -> TextDomain:
        model = load_model(config.model, dtype=torch.float32)
        disable_dropout(model)
        return TextDomain(model=model, tokenizer=tokenizer, data=data, conditions=conditions)

    return Prepared(
        domain=TextDomain.name,
        notes=data.describe(),
        shape=shape,
        train_NT=data.train.ids_NT,
        origin=SOURCE.origin(config.model),
        load=load,
        closing=lambda folder: before_after(folder.read_samples()),
    )


if __name__ == "__main__":
    sys.exit(run_cli(main))
