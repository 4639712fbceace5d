"""Read llama.cpp's checkpoints (GGUF files): convert each once to a folder that loads in seconds.

transformers reads such a file, but takes half a minute for a small one, returns a model that it
refuses to save again, and silently drops what it does not know. So a file is read once,
de-quantised to float32, and saved in the user's cache as a plain checkpoint (safetensors,
tokenizer, chat template) under the hash of its content. A file of which something would be lost is
refused.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from common.errors import UserError, first_line
from common.tools.cache import cached_folder
from common.tools.files import file_sha256
from common.tools.library_errors import LIBRARY_ERRORS, lacks_memory
from common.tools.quiet import quiet_transformers
from text.pretokenizers import named, rule_of
from text.save import save_model

MAGIC = b"GGUF"
CONVERSION = 1
"""Version of the conversion: a new one ignores the cached folders of the earlier ones."""
_LINK = "model.gguf"
# Pre-tokenizers differ in letters, digits after spaces, apostrophes, line ends, other scripts.
PROBE_TEXT = "It's 2024,  12 na\u00efve caf\u00e9s!!\n\n  \u4f60\u597d \U0001f98a x1\n"


def checkpoint_folder(file: Path) -> Path:
    """The checkpoint folder of a GGUF file in the cache, converted if it is not there.

    Raises:
        UserError: the file is no GGUF, is truncated or holds no causal language model that the
            library reads, or the cache cannot be written.
    """
    try:
        with file.open("rb") as opened:
            begins = opened.read(len(MAGIC))
        digest = file_sha256(file) if begins == MAGIC else ""
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from error
    if begins != MAGIC:
        raise UserError(
            expected="a checkpoint folder, or a GGUF file",
            got=f"{str(file)!r}, which is a file, but no GGUF: it begins with {begins!r}",
            fix="name the folder that save_pretrained wrote, or a .gguf file",
        )
    return cached_folder(f"gguf/{digest}-{CONVERSION}", lambda folder: convert(file, folder))


def convert(file: Path, folder: Path) -> None:
    """Write a GGUF file as a plain checkpoint.

    Args:
        file: begins with the magic bytes of a GGUF file.
        folder: exists.

    Raises:
        UserError: the library cannot read the file, or would read only a part of it.
    """
    print(f"note: reading {file.name}, kept for the next time in {folder.parent}", file=sys.stderr)
    quiet_transformers()
    reader = _opened(file)
    _check_rope(file, reader)
    rule = _pretokenizer(file, reader)
    # The library also reads other files of the same folder (a tokenizer's configuration, a chat
    # template). The hash of the GGUF file would then not identify the result, so the file is linked
    # into an empty folder.
    with tempfile.TemporaryDirectory() as alone:
        os.symlink(file.resolve(), Path(alone) / _LINK)
        try:
            config = _config(file, alone)
            model = _model(file, alone, config)
            tokenizer = _plain(AutoTokenizer.from_pretrained(alone, gguf_file=_LINK), config)
        except (*LIBRARY_ERRORS, OSError, ImportError) as error:
            if isinstance(error, UserError) or lacks_memory(error):
                raise
            raise _refused(file, first_line(error)) from error
    _check_all_read(file, reader, model)
    if rule is not None:
        rule.put_into(tokenizer.backend_tokenizer)
    _settle(model)
    settled: Any = model.config
    for name in ("bos", "eos", "pad"):
        setattr(settled, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    save_model(model, tokenizer, folder)
    _check_tokenizer_kept(file, tokenizer, folder)


def _opened(file: Path) -> GGUFReader:
    """The file's fields and tensors; the weights are mapped, not read."""
    try:
        return GGUFReader(file)
    except (*LIBRARY_ERRORS, OSError, OverflowError, MemoryError) as error:
        raise _refused(file, f"damaged or truncated ({first_line(error)})") from error


def _check_rope(file: Path, reader: GGUFReader) -> None:
    """Refuse scaled rotary positions, because the library ignores the scaling."""
    stretched = [tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_f")]
    for key in reader.fields:
        if key.endswith(".rope.scaling.type") and _value(reader, key) != "none":
            stretched.append(key)
    if stretched:
        raise UserError(
            expected="a GGUF file whose rotary positions the library reads in full",
            got=f"{file.name!r} with {stretched[0]!r}",
            fix="use the model's checkpoint folder or hub id instead",
        )


def _pretokenizer(file: Path, reader: GGUFReader) -> Any:
    """The pre-tokenizer of a byte-level tokenizer; None for other kinds of tokenizers."""
    if _value(reader, "tokenizer.ggml.model") != "gpt2":
        return None
    name = _value(reader, "tokenizer.ggml.pre") or "default"
    rule = named(name)
    if rule is None:
        raise UserError(
            expected="a tokenizer with a known pre-tokenizer",
            got=f"{file.name!r} with the pre-tokenizer {name!r}",
            fix="use the model's checkpoint folder or hub id instead",
        )
    return rule


def _config(file: Path, alone: str) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(alone, gguf_file=_LINK)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        raise UserError(
            expected="a causal language model, decoder-only",
            got=f"{file.name!r} of type {config.model_type!r}",
            fix="choose a model such as Llama, Qwen2 or Gemma 2",
        )
    return config


def _model(file: Path, alone: str, config: PretrainedConfig) -> PreTrainedModel:
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        alone,
        gguf_file=_LINK,
        config=config,
        dtype=torch.float32,
        # Some releases of the library can keep the blocks packed, which cannot be trained.
        quantization_config=GgufConfig(dequantize=True),
        output_loading_info=True,
        # Mismatches are then listed; the library's error would advise to ignore them.
        ignore_mismatched_sizes=True,
    )
    model, info = loaded
    unusable = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    if unusable:
        raise UserError(
            expected=f"a complete checkpoint of {type(model).__name__}",
            got=f"{file.name!r}, where {len(unusable)} weights are missing or of another shape, "
            f"such as {unusable[0]}",
            fix="download the file again, or use the model's checkpoint folder or hub id",
        )
    return model


def _check_all_read(file: Path, reader: GGUFReader, model: PreTrainedModel) -> None:
    """Refuse a file with weights that the library's model does not have."""
    tied = model.config.get_text_config().tie_word_embeddings
    held = sum(
        math.prod(int(size) for size in tensor.shape)
        for tensor in reader.tensors
        if not (tied and tensor.name == "output.weight")  # a copy of the embedding
    )
    taken = sum(parameter.numel() for parameter in model.parameters())
    if held != taken:
        raise UserError(
            expected=f"a file of the {taken:,} weights of {type(model).__name__}",
            got=f"{file.name!r} with {held:,}, of which the library would drop the rest",
            fix="use the model's checkpoint folder or hub id instead",
        )


def _plain(read: Any, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    """The same tokenizer in the general class, without the paths and options of its reading."""
    return PreTrainedTokenizerFast(
        tokenizer_object=read.backend_tokenizer,
        bos_token=read.bos_token,
        eos_token=read.eos_token,
        pad_token=read.pad_token,
        unk_token=read.unk_token,
        chat_template=read.chat_template,
        model_max_length=config.get_text_config().max_position_embeddings,
    )


def _check_tokenizer_kept(file: Path, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Refuse a tokenizer that differs when it is loaded again from the folder.

    For some architectures, such as Qwen2, the library replaces the saved pre-tokenizer by its own.
    """
    again: Any = AutoTokenizer.from_pretrained(folder)
    same_ids = again(PROBE_TEXT)["input_ids"] == tokenizer(PROBE_TEXT)["input_ids"]
    if not same_ids or rule_of(again.backend_tokenizer) != rule_of(tokenizer.backend_tokenizer):
        raise UserError(
            expected="a tokenizer that the library loads as it was saved",
            got=f"the one of {file.name!r}, whose pre-tokenizer is not the usual one of a model of "
            "its type",
            fix="use the model's checkpoint folder or hub id instead",
        )


def _settle(model: PreTrainedModel) -> None:
    """Remove the marks of a quantised model: with them the library refuses to save it."""
    assert all(p.dtype == torch.float32 for p in model.parameters())
    config: Any = model.config
    loaded: Any = model
    loaded.hf_quantizer = loaded.quantization_method = None
    loaded.is_quantized = False
    if hasattr(config, "quantization_config"):
        del config.quantization_config


def _value(reader: GGUFReader, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _refused(file: Path, why: str) -> UserError:
    return UserError(
        expected="a GGUF file of a causal language model that transformers reads",
        got=f"{str(file)!r}: {why}",
        fix="check the path, download the file again, or use the model's checkpoint folder "
        "or hub id",
    )
