"""Small GGUF files, written by hand with the format's own package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

VOCABULARY, WIDTH, INNER, HEADS, KEY_HEADS, BLOCKS = 260, 64, 96, 4, 2, 2


def byte_tokens() -> list[str]:
    """The 256 bytes as GPT-2 spells them, and four of the file's own."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return [*bytes_to_unicode().values(), "<|end|>", "<|start|>", "<think>", "he"]


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """llama.cpp's tensors of a Llama with tied embeddings; norms are ones."""
    random = np.random.default_rng(seed)
    key = KEY_HEADS * WIDTH // HEADS

    def normal(*shape: int) -> np.ndarray:
        return (0.2 * random.standard_normal(shape)).astype(np.float32)

    tensors = {"token_embd.weight": normal(VOCABULARY, WIDTH)}
    tensors["output_norm.weight"] = np.ones(WIDTH, np.float32)
    for block in range(BLOCKS):
        tensors |= {
            f"blk.{block}.attn_norm.weight": np.ones(WIDTH, np.float32),
            f"blk.{block}.ffn_norm.weight": np.ones(WIDTH, np.float32),
            f"blk.{block}.attn_q.weight": normal(WIDTH, WIDTH),
            f"blk.{block}.attn_k.weight": normal(key, WIDTH),
            f"blk.{block}.attn_v.weight": normal(key, WIDTH),
            f"blk.{block}.attn_output.weight": normal(WIDTH, WIDTH),
            f"blk.{block}.ffn_gate.weight": normal(INNER, WIDTH),
            f"blk.{block}.ffn_up.weight": normal(INNER, WIDTH),
            f"blk.{block}.ffn_down.weight": normal(WIDTH, INNER),
        }
    return tensors


def write_llama(
    file: Path,
    tensors: dict[str, np.ndarray],
    *,
    quantised: gguf.GGMLQuantizationType | None = None,
    pre: str | None = "gpt-2",
    arch: str = "llama",
    strings: dict[str, str] | None = None,
    template: str | None = None,
    adds_bos: bool = False,
) -> Path:
    """A file of the shape above; matrices in blocks where `quantised` says so."""
    writer = gguf.GGUFWriter(file, arch)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(byte_tokens())
    writer.add_token_types([1] * 256 + [3, 3, 4, 1])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(257)
    writer.add_add_bos_token(adds_bos)
    writer.add_eos_token_id(256)
    if template is not None:
        writer.add_chat_template(template)
    for key, value in (strings or {}).items():
        writer.add_string(key, value)
    for name, values in tensors.items():
        raw: Any = values
        if quantised is not None and values.ndim == 2:
            raw = gguf.quantize(values, quantised)
            writer.add_tensor(name, raw, raw_dtype=quantised)
        else:
            writer.add_tensor(name, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
