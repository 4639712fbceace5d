"""Pre-tokenizers: how byte-level tokenizers split text before they merge, by their GGUF names.

A GGUF file holds tokens and merges, but only the name of the pre-tokenizer (`tokenizer.ggml.pre`);
llama.cpp knows the rule behind each name (`src/llama-vocab.cpp`). A wrong rule still gives ids, but
not those that the model was trained on. So a file with a name that is not listed here is refused,
and a tokenizer whose rule has no name is not written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, kw_only=True)
class Pretokenizer:
    """One rule.

    Attributes:
        names: in GGUF files; the first is the one that is written.
        split: regular expression of the pieces; None for GPT-2's, which is built into the library.
        digits: whether digits are separated from each other first.
        whole_words: whether a piece that is a token stays whole, whatever the merges.
    """

    names: tuple[str, ...]
    split: str | None = None
    digits: bool = False
    whole_words: bool = False

    def build(self) -> pre_tokenizers.PreTokenizer:
        """The rule as an object of the tokenizers library."""
        if self.split is not None:
            cut = pre_tokenizers.Split(Regex(self.split), behavior="isolated")
            as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            return pre_tokenizers.Sequence([cut, as_bytes])
        gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if not self.digits:
            return gpt2
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])

    def put_into(self, tokenizer: Tokenizer) -> None:
        """Make a tokenizer use this rule."""
        tokenizer.pre_tokenizer = self.build()
        tokenizer.model.ignore_merges = self.whole_words


PRETOKENIZERS = (
    Pretokenizer(
        # "default": older files name no rule; the library uses GPT-2's.
        names=("gpt-2", "default", "phi-2", "mpt", "olmo", "roberta-bpe", "modern-bert", "trillion")
    ),
    Pretokenizer(names=("smollm", "starcoder", "refact", "command-r", "codeshell"), digits=True),
    Pretokenizer(
        names=("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"),
        split=_LLAMA3,
        whole_words=True,
    ),
    Pretokenizer(names=("qwen2", "deepseek-r1-qwen"), split=_QWEN2),
    Pretokenizer(names=("tekken",), split=_TEKKEN, whole_words=True),
)


def named(name: str) -> Pretokenizer | None:
    """The rule behind a name of GGUF files."""
    return next((one for one in PRETOKENIZERS if name in one.names), None)


def rule_of(tokenizer: Tokenizer) -> Pretokenizer | None:
    """The listed rule that a byte-level tokenizer uses, or None."""
    described = json.loads(tokenizer.to_str())
    whole_words = bool(described["model"].get("ignore_merges"))
    mine = _plain(described["pre_tokenizer"])
    for one in PRETOKENIZERS:
        # pickled state is the only way to a rule's JSON
        rule = json.loads(one.build().__getstate__())
        if _plain(rule) == mine and one.whole_words == whole_words:
            return one
    return None


def _plain(rule: Any) -> Any:
    """A rule without options that change offsets only; a sequence of one rule becomes that rule."""
    if isinstance(rule, dict):
        if rule.get("type") == "Sequence" and len(rule["pretokenizers"]) == 1:
            return _plain(rule["pretokenizers"][0])
        return {key: _plain(value) for key, value in rule.items() if key != "trim_offsets"}
    return [_plain(one) for one in rule] if isinstance(rule, list) else rule
