"""What a text run reads before its weights: tokenizer, shape and corpora."""

from __future__ import annotations

import torch

from common.command import Prepared
from common.conditions import standard_conditions
from common.decode.methods import sampling_config
from common.report.terminal import before_after
from common.tools.modules import disable_dropout
from text.config import REFERENCE, TextRunConfig
from text.data import load_data
from text.domain import TextDomain
from text.model import (
    SOURCE,
    check_fits,
    check_tokenizer_fits,
    load_model,
    load_tokenizer,
    meta_model,
)


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
        references=[REFERENCE.condition],
    )

    def load() -> TextDomain:
        model = load_model(config.model, dtype=torch.float32)
        disable_dropout(model)
        return TextDomain(model=model, tokenizer=tokenizer, data=data, conditions=conditions)

    return Prepared(
        notes=data.describe(),
        shape=shape,
        train_NT=data.train.ids_NT,
        origin=SOURCE.origin(config.model),
        load=load,
        closing=lambda folder: before_after(folder.read_samples()),
    )
