"""Documents of numbered words, and a tokenizer that gives each word its number."""

from __future__ import annotations

import random

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from text.corpus import Document

EOS, BOS, WORDS = 0, 1, 500


def tokenizer(*, bos: bool = False, eos: bool = True) -> PreTrainedTokenizerFast:
    """Word "w7" has id 7."""
    vocabulary = {"<eos>": EOS, "<bos>": BOS} | {f"w{i}": i for i in range(2, WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<eos>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", BOS)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>" if eos else None, model_max_length=16
    )


def document(name: str, ids: list[int]) -> Document:
    return Document(id=name, text=" ".join(f"w{i}" for i in ids), source=f"{name}.txt")


def numbers(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(2, WORDS), k=count)
