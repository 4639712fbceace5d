"""A byte-level BPE tokenizer as the fields of a GGUF file, with llama.cpp's names.

A tokenizer that llama.cpp cannot reproduce is refused. Otherwise the file would load and give other
ids, and the model would write nonsense without a visible reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from text.pretokenizers import Pretokenizer, rule_of


@dataclass(frozen=True, kw_only=True)
class GgufTokenizer:
    """What a GGUF file holds of a tokenizer.

    Attributes:
        pre: llama.cpp's name of the pre-tokenizer.
        tokens: by id; an id without a token has a made-up name.
        types: by id, llama.cpp's token types.
        merges: "a b", in the order of their rank.
        special_ids: "bos", "eos", "pad", "unk" -> id, where there is one.
        adds_bos: whether texts begin with the beginning-of-sequence token.
        adds_eos: whether they end with the end-of-sequence token.
        chat_template: Jinja source, or None.
    """

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    special_ids: dict[str, int]
    adds_bos: bool
    adds_eos: bool
    chat_template: str | None

    def add_to(self, writer: GGUFWriter) -> None:
        """Put the fields into a file."""
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        add_id = {
            "bos": writer.add_bos_token_id,
            "eos": writer.add_eos_token_id,
            "pad": writer.add_pad_token_id,
            "unk": writer.add_unk_token_id,
        }
        for name, number in self.special_ids.items():
            add_id[name](number)
        writer.add_add_bos_token(self.adds_bos)
        writer.add_add_eos_token(self.adds_eos)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def gguf_tokenizer(tokenizer: PreTrainedTokenizerBase, *, rows: int) -> GgufTokenizer:
    """The fields of a tokenizer.

    Args:
        tokenizer: of the tokenizers library.
        rows: of the model's embedding, at least as many as there are ids.

    Raises:
        UserError: not byte-level BPE, or with a pre-tokenizer for which llama.cpp has no name.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refused("one without a tokenizer.json")
    described = json.loads(backend.to_str())
    model, rule = described["model"], rule_of(backend)
    if model["type"] != "BPE" or model.get("byte_fallback") or rule is None:
        raise _refused(f"{model['type']} with another pre-tokenizer")
    if described["normalizer"] is not None and not _only_nfc(described["normalizer"], rule):
        raise _refused("one that normalises texts first")
    added = {entry["id"]: entry for entry in described["added_tokens"]}
    tokens = [f"[PAD{number}]" for number in range(rows)]
    types = [int(TokenType.UNUSED)] * rows
    for token, number in model["vocab"].items():
        tokens[number], types[number] = token, int(TokenType.NORMAL)
    for number, entry in added.items():
        kind = TokenType.CONTROL if entry["special"] else TokenType.USER_DEFINED
        tokens[number], types[number] = entry["content"], int(kind)
    special_ids = {
        name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk")
    }
    tried: list[int] = tokenizer("a")["input_ids"]
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several, by name
        template = template.get("default")
    return GgufTokenizer(
        pre=rule.names[0],
        tokens=tokens,
        types=types,
        # Older tokenizer.json files write a merge as one text.
        merges=[one if isinstance(one, str) else " ".join(one) for one in model["merges"]],
        special_ids={name: number for name, number in special_ids.items() if number is not None},
        adds_bos=tried[0] == tokenizer.bos_token_id,
        adds_eos=tried[-1] == tokenizer.eos_token_id,
        chat_template=template,
    )


def _only_nfc(normalizer: dict[str, Any], rule: Pretokenizer) -> bool:
    """Whether it is Qwen's NFC: llama.cpp omits it, and nearly all text is in that form already."""
    return normalizer["type"] == "NFC" and rule.names[0] == "qwen2"


def _refused(got: str) -> UserError:
    return UserError(
        expected="a byte-level BPE tokenizer of the kind of GPT-2, SmolLM, Llama 3 or Qwen2",
        got=got,
        fix="use llama.cpp's own converter: python convert_hf_to_gguf.py MODEL_FOLDER "
        "--outfile model.gguf",
    )
