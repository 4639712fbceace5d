"""Write a model as a GGUF file for llama.cpp and programs that are built on it.

Only models of the Llama family are written, and only those that llama.cpp and transformers both
read back without loss. For others the error names llama.cpp's own converter. The layout follows
that converter. Norms stay in float32. The rows of Llama's query and key matrices are reordered,
because the rotary embedding rotates neighbouring pairs of a head's components in llama.cpp, and
pairs from the first and second half in transformers.
"""

from __future__ import annotations

import math
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.record.provenance import ModelOrigin
from common.tools.files import writing
from text.gguf_tokenizer import gguf_tokenizer

Dtype = Literal["f16", "f32"]
LARGEST_F16 = 65504.0


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How one architecture is written.

    Attributes:
        arch: gguf's constant for it.
        permuted: by part of a tensor's name: its rows are reordered, and this option of the
            configuration is its number of heads.
        neutral: options of the configuration that must have this value or be absent, because
            their effect cannot be written.
    """

    arch: gguf.MODEL_ARCH
    permuted: dict[str, str]
    neutral: dict[str, Any]


ARCHITECTURES = {
    "llama": Architecture(
        arch=gguf.MODEL_ARCH.LLAMA,
        permuted={".q_proj.": "num_attention_heads", ".k_proj.": "num_key_value_heads"},
        neutral={"attention_bias": False, "mlp_bias": False, "hidden_act": "silu"},
    ),
    "qwen2": Architecture(
        arch=gguf.MODEL_ARCH.QWEN2,
        permuted={},
        neutral={"use_sliding_window": False, "hidden_act": "silu"},
    ),
}


def write_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    file: Path,
    *,
    dtype: Dtype,
    origin: ModelOrigin,
) -> None:
    """Write model and tokenizer.

    Args:
        model: in float32.
        tokenizer: its tokenizer.
        file: appears only once it is complete.
        dtype: of the matrices.
        origin: where the model comes from; its name and licence go into the file.

    Raises:
        UserError: the model, the tokenizer or a weight cannot be written, or the disk is full.
    """
    how = architecture_of(model)
    config: Any = model.config
    fields = gguf_tokenizer(tokenizer, rows=config.vocab_size)
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[how.arch])
    writer.add_name("hyperfitted model" if origin.origin is None else origin.origin)
    if origin.licence is not None:
        writer.add_license(origin.licence.lower())
    _add_shape(writer, config, dtype)
    fields.add_to(writer)
    names = gguf.get_tensor_name_map(how.arch, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert written is not None, name
        writer.add_tensor(written, _numbers(name, _reordered(name, weight, how, config), dtype))
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    with writing(file):
        try:
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            os.replace(temporary, file)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def architecture_of(model: PreTrainedModel) -> Architecture:
    """How a model is written.

    Args:
        model: only its configuration is read.

    Raises:
        UserError: the model cannot be written; names the reason and llama.cpp's converter.
    """
    config: Any = model.config
    how = ARCHITECTURES.get(config.model_type)
    against = f"type {config.model_type!r}" if how is None else _against(config, how)
    if how is None or against is not None:
        raise UserError(
            expected=f"a model of type {' or '.join(ARCHITECTURES)} without changes to it",
            got=str(against),
            fix="use llama.cpp's own converter: python convert_hf_to_gguf.py MODEL_FOLDER "
            "--outfile model.gguf",
        )
    return how


def _against(config: Any, how: Architecture) -> str | None:
    """The first property of a configuration that cannot be written, or None."""
    for option, value in how.neutral.items():
        if getattr(config, option, value) != value:
            return f"{option} {getattr(config, option)!r}"
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        return f"rotary positions of type {rope['rope_type']!r}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "rotary positions for a part of each head"
    if not how.permuted and _head_size(config) * config.num_attention_heads != config.hidden_size:
        return f"heads of {_head_size(config)}"  # transformers' reader ignores the size of heads
    return None


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add_shape(writer: gguf.GGUFWriter, config: Any, dtype: Dtype) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    kinds = {"f16": gguf.LlamaFileType.MOSTLY_F16, "f32": gguf.LlamaFileType.ALL_F32}
    writer.add_file_type(kinds[dtype])


def _reordered(name: str, weight: Tensor, how: Architecture, config: Any) -> Tensor:
    """Rows of query and key in llama.cpp's order: the two halves of each head, interleaved."""
    for part, option in how.permuted.items():
        if part in name:
            heads = getattr(config, option)
            halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
            return halves.swapaxes(1, 2).reshape(weight.shape)
    return weight


def _numbers(name: str, weight: Tensor, dtype: Dtype) -> np.ndarray:
    """Matrices in the dtype asked for, vectors (norms, biases) in float32."""
    values = weight.detach().to("cpu", torch.float32).contiguous()
    if dtype == "f32" or values.ndim == 1:
        return values.numpy()
    largest = float(values.abs().max())
    if not largest <= LARGEST_F16:  # a NaN too
        found = f"{largest:g}" if math.isfinite(largest) else "one that is not finite"
        raise UserError(
            expected=f"weights of at most {LARGEST_F16:g}, the largest number of f16",
            got=f"{found} in {name}",
            fix="use --dtype f32",
        )
    return values.to(torch.float16).numpy()
