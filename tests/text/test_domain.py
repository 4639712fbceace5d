"""The text domain: conditions, pieces, what is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from common.conditions import standard_conditions
from common.config import MeasureConfig
from common.decode.methods import NEUTRAL, greedy_config, sampling_config
from common.domain import Condition
from common.errors import UserError
from text.config import CorpusConfig
from text.data import load_data
from text.domain import TextDomain
from text.model import load_model, load_tokenizer


def conditions_of(measure: MeasureConfig) -> list[Condition]:
    return standard_conditions(
        measure,
        sampled="top-p",
        at_temperature_1=sampling_config(top_p=measure.top_p, temperature=1.0, top_k=0),
        references=["human"],
    )


@pytest.fixture(scope="module")
def domain(tiny_checkpoint: Path) -> TextDomain:
    tokenizer = load_tokenizer(str(tiny_checkpoint))
    data = load_data(
        CorpusConfig(
            train=["embedded:tales"],
            prompts={"fiction": "heldout"},
            sequences=4,
            length=20,
            heldout_documents=3,
            prompt_tokens=4,
            new_tokens=6,
            long_new_tokens=None,
        ),
        tokenizer,
        seed=0,
    )
    return TextDomain(
        model=load_model(str(tiny_checkpoint)),
        tokenizer=tokenizer,
        data=data,
        conditions=conditions_of(MeasureConfig()),
    )


def test_conditions_take_their_options() -> None:
    measure = MeasureConfig(top_p=0.5, temperature=0.4, top_k=3, repetition_penalty=1.7)
    conditions = {c.name: c for c in conditions_of(measure)}
    assert list(conditions) == [
        "original-greedy",
        "original-top-p",
        "original-top-p-t1",
        "original-repetition-penalty",
        "early-stopped-greedy",
        "hyperfitted-greedy",
        "hyperfitted-greedy-blocked",
        "hyperfitted-top-p",
        "human",
    ]
    for name in ("original-top-p", "hyperfitted-top-p"):
        method = conditions[name].method
        assert method is not None and method.do_sample
        assert (method.top_p, method.temperature, method.top_k) == (0.5, 0.4, 3)
    penalty = conditions["original-repetition-penalty"].method
    assert penalty is not None and penalty.repetition_penalty == 1.7
    assert [c.name for c in conditions.values() if c.blocked] == ["hyperfitted-greedy-blocked"]
    assert conditions["human"].method is None and conditions["human"].stage == "reference"
    for name in ("original-greedy", "early-stopped-greedy", "hyperfitted-greedy"):
        assert conditions[name].method == greedy_config()
        assert name.startswith(conditions[name].stage)


def test_a_decoding_option_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="top_p"):
        conditions_of(MeasureConfig(top_p=0.0))


def test_sequences_and_pieces(domain: TextDomain) -> None:
    assert domain.sequences("train").shape == (4, 20)
    assert domain.sequences("heldout").shape == (3, 20)
    ids = domain.sequences("train")[0]
    assert domain.tokenizer.decode(ids) == "".join(domain.pieces(ids.numpy()))
    assert len(domain.pieces(np.asarray(ids))) == 20
    assert domain.word_start_V is not None and domain.word_start_V.shape == (400,)


def test_what_is_saved_loads_and_decodes_greedily(domain: TextDomain, tmp_path: Path) -> None:
    domain.model.generation_config = GenerationConfig(repetition_penalty=3.0, do_sample=True)
    domain.save(domain.model, tmp_path / "model", "# Card\n")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, parameter in domain.model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    kept = loaded.generation_config.to_dict()
    for name in ("do_sample", "repetition_penalty", "temperature", "no_repeat_ngram_size"):
        assert kept.get(name, NEUTRAL[name]) == NEUTRAL[name]
    assert loaded.generation_config.eos_token_id == domain.tokenizer.eos_token_id
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("A hen.")["input_ids"] == domain.tokenizer("A hen.")["input_ids"]
    assert (tmp_path / "model" / "README.md").read_text(encoding="utf-8") == "# Card\n"


def test_the_report_says_whether_there_was_a_chat_template(
    domain: TextDomain, tmp_path: Path
) -> None:
    (remark,) = domain.present({}, {}, tmp_path).remarks
    assert remark == "Prompts and training texts are plain text, without a chat template."
