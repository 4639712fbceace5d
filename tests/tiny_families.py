"""Tiny random models of many architectures, for tests that ask nothing about an architecture."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

VOCABULARY = 64
SWITCH = 12  # where the rotary frequencies of "longrope" and "dynamic" change
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_STATES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "initializer_range": 0.3,
    **_IDS,
}
_DECODER = _STATES | {
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_OPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "ffn_dim": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 16,
    "init_std": 0.3,
    **_IDS,
}
_GPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "initializer_range": 0.3,
    **_IDS,
}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": SWITCH,
}
_DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
_EXPERTS = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}

# Name -> (model type, configuration).
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _DECODER),
    "gpt2": ("gpt2", _GPT),
    "openai-gpt": ("openai-gpt", _GPT),
    "gpt_neox": ("gpt_neox", _DECODER),
    "phi": ("phi", _DECODER),
    "stablelm": ("stablelm", _DECODER),
    "bloom": (
        "bloom",
        {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}
        | {"initializer_range": 0.3},
    ),
    "mpt": (
        "mpt",
        {"vocab_size": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 64},
    ),
    "opt": ("opt", _OPT),
    "opt-projected": ("opt", _OPT | {"word_embed_proj_dim": 8}),
    "opt-post-norm": ("opt", _OPT | {"do_layer_norm_before": False}),
    "mistral": ("mistral", _DECODER | {"sliding_window": 5}),
    "gemma2": ("gemma2", _DECODER | {"head_dim": 8, "sliding_window": 5}),
    "gemma3": (
        "gemma3_text",
        _DECODER
        | {"head_dim": 8, "sliding_window": 5}
        | {"layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen3_moe": ("qwen3_moe", _DECODER | _EXPERTS),
    "mixtral": ("mixtral", _DECODER | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi3-longrope": (
        "phi3",
        _DECODER | {"rope_parameters": _LONGROPE, "original_max_position_embeddings": SWITCH},
    ),
    "llama-dynamic": (
        "llama",
        _DECODER | {"max_position_embeddings": SWITCH, "rope_parameters": _DYNAMIC},
    ),
    "mamba": ("mamba", _STATES | {"state_size": 4}),
    "falcon_mamba": ("falcon_mamba", _STATES | {"state_size": 4}),
    "mamba2": (
        "mamba2",
        _STATES | {"state_size": 4, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4},
    ),
    "rwkv": (
        "rwkv",
        {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "context_length": 64},
    ),
    "recurrent_gemma": (
        "recurrent_gemma",
        _DECODER
        | {"num_hidden_layers": 3, "num_key_value_heads": 1, "lru_width": 16}
        | {"attention_window_size": 6},
    ),
    "lfm2": ("lfm2", _DECODER | {"layer_types": ["conv", "full_attention"]}),
    "jamba": (
        "jamba",
        _DECODER
        | {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2}
        | {"num_experts": 2, "mamba_d_state": 4, "mamba_dt_rank": 2, "use_mamba_kernels": False},
    ),
    "bamba": (
        "bamba",
        _DECODER | _MAMBA2 | {"attn_layer_indices": [1], "mamba_chunk_size": 4},
    ),
    "falcon_h1": (
        "falcon_h1",
        _DECODER | _MAMBA2 | {"head_dim": 8, "mamba_d_ssm": 32, "mamba_chunk_size": 4},
    ),
    "zamba2": (
        "zamba2",
        _DECODER
        | {"num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "mamba"]}
        | {"mamba_d_state": 4, "n_mamba_heads": 4, "mamba_ngroups": 1, "num_mem_blocks": 1}
        | {"use_mem_rope": True, "attention_hidden_size": 32, "attention_head_dim": 16},
    ),
    "qwen3_next": (
        "qwen3_next",
        _DECODER
        | _EXPERTS
        | {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8}
        | {"linear_value_head_dim": 8, "shared_expert_intermediate_size": 8}
        | {"layer_types": ["linear_attention", "full_attention"]},
    ),
}


def tiny_model(name: str, **more: Any) -> Any:
    """Random weights of a family, in eval mode."""
    kind, options = FAMILIES[name]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(options | more))
    return AutoModelForCausalLM.from_config(config).eval()
