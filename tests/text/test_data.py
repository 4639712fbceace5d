"""What becomes of the corpora of a run: split, selection, prompt sets."""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from text.config import CorpusConfig
from text.corpus import read_documents
from text.data import load_data


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def noise(count: int, length: int, seed: int) -> list[str]:
    """Texts that share nothing, of `length` characters and so at most as many tokens."""
    letters = random.Random(seed)
    return ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=length)) for _ in range(count)]


def config(**changed: Any) -> CorpusConfig:
    small: dict[str, Any] = {
        "heldout_documents": 3,
        "prompts": {"fiction": "heldout"},
        "sequences": 6,
        "length": 20,
        "prompt_tokens": 4,
        "new_tokens": 6,
        "long_new_tokens": None,
    }
    return CorpusConfig(**(small | changed))


def test_heldout_documents_are_the_last_of_every_source(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    one, two = noise(9, 80, seed=1), noise(5, 80, seed=2)
    sources = [write(tmp_path / "one.jsonl", one), write(tmp_path / "two.jsonl", two)]
    data = load_data(config(train=sources), tiny_tokenizer, seed=0)
    assert [d.text for d in data.heldout.documents] == [*one[-2:], two[-1]]
    assert {d.text for d in data.train.documents} < {*one[:-2], *two[:-1]}
    assert data.train.total == 11 and data.train.ids_NT.shape == (6, 20)
    for row, document in zip(data.train.ids_NT, data.train.documents, strict=True):
        assert row.tolist() == tiny_tokenizer(document.text)["input_ids"][:20]
    other = load_data(config(train=sources), tiny_tokenizer, seed=1)
    assert not torch.equal(other.train.ids_NT, data.train.ids_NT)
    assert torch.equal(other.heldout.ids_NT, data.heldout.ids_NT)


def test_named_heldout_sources_leave_the_training_documents_alone(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    train = write(tmp_path / "train.jsonl", noise(6, 80, seed=1))
    held = write(tmp_path / "held.jsonl", noise(2, 80, seed=2))
    data = load_data(config(train=[train], heldout=[held]), tiny_tokenizer, seed=0)
    assert len(data.train.documents) == 6 and len(data.heldout.ids_NT) == 2


def test_prompt_sets(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    train = write(tmp_path / "train.jsonl", noise(9, 80, seed=1))
    # 3 too short for a prompt, 9 for the long set, 12 long enough for both.
    texts = noise(3, 8, seed=2) + noise(9, 24, seed=3) + noise(12, 200, seed=4)
    news = write(tmp_path / "news.jsonl", texts)
    options = config(
        train=[train],
        prompts={"news": news, "fiction": "heldout"},
        long_new_tokens=40,
        max_prompts=18,
    )
    data = load_data(options, tiny_tokenizer, seed=0)
    short, long, fiction = data.prompt_sets
    assert [s.name for s in data.prompt_sets] == ["news", "news-44", "fiction"]
    assert [s.pooled for s in data.prompt_sets] == [True, False, True]
    # max_prompts counts usable documents; the long set takes from the same ones.
    assert len(short.references) == 18 and len(long.references) == 9
    assert long.new_tokens == 40 and torch.equal(long.ids_PC, short.ids_PC[9:])
    assert len(fiction.references) == 3  # too few for a long set
    assert data.longest() == 44
    assert "news-44: 9 prompts of 4 tokens, 40 new" in "\n".join(data.describe())


def test_packing_uses_all_documents(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    train = write(tmp_path / "train.jsonl", noise(9, 80, seed=1))
    options = config(train=[train], packing=True, length=50, sequences=2)
    data = load_data(options, tiny_tokenizer, seed=0)
    assert data.train.ids_NT.shape == (2, 50) and len(data.train.documents) == 6


def test_the_field_option_is_used(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    path = tmp_path / "train.jsonl"
    rows = [json.dumps({"story": text}) + "\n" for text in noise(9, 80, seed=1)]
    path.write_text("".join(rows), encoding="utf-8")
    data = load_data(config(train=[str(path)], field="story"), tiny_tokenizer, seed=0)
    assert len(data.train.documents) == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"length": 1}, "data.length to be at least 2"),
        ({"sequences": 0}, "data.sequences to be at least 1"),
        ({"new_tokens": 0}, "data.new_tokens"),
        ({"long_new_tokens": 6}, "data.long_new_tokens to be at least 7"),
        ({"heldout_documents": 0}, "data.heldout_documents"),
        ({"prompts": {}}, "data.prompts to be at least one source"),
        ({"prompts": {"all": "heldout"}}, 'other than "all"'),
        ({"train": []}, "data.train to be at least one source"),
        ({"heldout": []}, "data.heldout to be at least one source, or null"),
        ({"heldout_documents": 160}, "more than 160 documents in 'embedded:tales'"),
    ],
)
def test_options_out_of_range_are_named(
    changed: dict[str, Any], message: str, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(UserError, match=message):
        load_data(config(**({"train": ["embedded:tales"]} | changed)), tiny_tokenizer, seed=0)


def test_two_sets_of_one_name_are_refused(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    prompts = {"fiction": "embedded:news", "fiction-12": "embedded:encyclopedia"}
    options = config(train=["embedded:tales"], prompts=prompts, long_new_tokens=8)
    with pytest.raises(UserError, match="'fiction-12' twice"):
        load_data(options, tiny_tokenizer, seed=0)


def test_a_text_that_is_trained_and_continued_is_refused(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = noise(9, 80, seed=1)
    options = config(
        train=[write(tmp_path / "train.jsonl", texts)],
        prompts={"news": write(tmp_path / "news.jsonl", texts[:6])},
    )
    with pytest.raises(UserError, match="share nothing with the training documents"):
        load_data(options, tiny_tokenizer, seed=0)


def test_no_document_long_enough_tells_how_many_there_were(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    news = write(tmp_path / "news.jsonl", noise(4, 5, seed=1))
    options = config(train=["embedded:tales"], prompts={"news": news})
    with pytest.raises(UserError, match="got 4 documents, all shorter"):
        load_data(options, tiny_tokenizer, seed=0)
    assert len(read_documents(news)) == 4


def test_the_chat_template_wraps_what_it_is_told_to(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "User: {{ messages[0]['content'] }} Answer:"
    before, after = (tokenizer(words)["input_ids"] for words in ("User: ", " Answer:"))
    train = write(tmp_path / "train.jsonl", noise(9, 80, seed=1))
    options = {"train": [train], "prompt_tokens": 4, "length": 40}
    data = {
        used: load_data(config(chat_template=used, **options), tokenizer, seed=0)
        for used in ("none", "prompts", "all")
    }
    plain = data["none"]
    (prompts,) = plain.prompt_sets
    for used in ("prompts", "all"):
        (framed,) = data[used].prompt_sets
        want = [[*before, *row, *after] for row in prompts.ids_PC.tolist()]
        assert framed.ids_PC.tolist() == want
        for ours, theirs in zip(framed.references, prompts.references, strict=True):
            assert ours.tolist() == theirs.tolist()
    assert torch.equal(data["prompts"].train.ids_NT, plain.train.ids_NT)
    assert torch.equal(data["prompts"].heldout.ids_NT, plain.heldout.ids_NT)
    kept = 40 - len(before) - len(after)
    for split in ("train", "heldout"):
        conversations = getattr(data["all"], split).ids_NT.tolist()
        for row, text in zip(conversations, getattr(plain, split).ids_NT.tolist(), strict=True):
            assert row == [*before, *text[:4], *after, *text[4:kept]]
    around = f"({len(before) + len(after)} tokens around each)"
    assert [one.describe()[-1] for one in data.values()] == [
        "Prompts and training texts are plain text, without a chat template.",
        f"Prompts stand in the model's chat template {around}; training texts are plain.",
        f"Prompts and training texts stand in the model's chat template {around}.",
    ]
    assert data["all"].longest() == 40
    least = len(before) + len(after) + 5
    short = options | {"length": least - 1}
    with pytest.raises(UserError, match=f"data.length to be at least {least}: "):
        load_data(config(chat_template="all", **short), tokenizer, seed=0)
    load_data(config(chat_template="prompts", **short), tokenizer, seed=0)
    load_data(config(chat_template="all", **options | {"length": least}), tokenizer, seed=0)


def test_a_tokenizer_without_a_template_is_told(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="a tokenizer with a chat template; got one without"):
        load_data(config(train=["embedded:tales"], chat_template="all"), tiny_tokenizer, seed=0)


class Counting:
    """A tokenizer that counts how often it encodes each text, without special tokens or with."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.encoded: Counter[tuple[str, bool]] = Counter()

    def __call__(self, text: str | list[str], **options: Any) -> Any:
        texts = [text] if isinstance(text, str) else text
        self.encoded.update((one, options.get("add_special_tokens", True)) for one in texts)
        return self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.mark.parametrize("used", ["none", "prompts", "all"])
def test_a_document_is_encoded_once(
    used: str, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "User: {{ messages[0]['content'] }} Answer:"
    train, held, news = noise(9, 80, seed=1), noise(4, 80, seed=2), noise(12, 200, seed=3)
    options = config(
        train=[write(tmp_path / "train.jsonl", train)],
        heldout=[write(tmp_path / "held.jsonl", held)],
        prompts={"fiction": "heldout", "news": write(tmp_path / "news.jsonl", news)},
        long_new_tokens=40,
        chat_template=used,
    )
    counting = Counting(tokenizer)
    data = load_data(options, counting, seed=0)  # pyright: ignore
    assert [s.name for s in data.prompt_sets] == ["fiction", "news", "news-44"]
    assert set(counting.encoded.values()) == {1}
    # Without a template, never in the second form.
    forms = [{special for t, special in counting.encoded if t == text} for text in held]
    assert all(form == ({True} if used == "none" else {True, False}) for form in forms)
    if used == "none":
        assert {text for text, _ in counting.encoded} == {*train, *held, *news}
        # What is carried is what each use would encode for itself.
        for prompts, texts, new in zip(
            data.prompt_sets, (held, news, news), (6, 6, 40), strict=True
        ):
            rows = [tiny_tokenizer(text)["input_ids"] for text in texts]
            assert prompts.ids_PC.tolist() == [row[:4] for row in rows]
            assert [r.tolist() for r in prompts.references] == [row[4 : 4 + new] for row in rows]
        assert data.heldout.ids_NT.tolist() == [
            tiny_tokenizer(text)["input_ids"][:20] for text in held
        ]
