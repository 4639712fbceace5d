"""What follows the last block, on families that register it in different places."""

from __future__ import annotations

import pytest
import torch
from tiny_families import FAMILIES, tiny_model
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from common.errors import UserError
from common.model.forward_order import parameters_above
from common.model.tune import decoder_blocks, prepare_tuning

NORMS = {
    "llama": "model.norm",
    "gpt2": "transformer.ln_f",
    "openai-gpt": None,  # its blocks end with their norms
    "gpt_neox": "gpt_neox.final_layer_norm",
    "phi": "model.final_layernorm",
    "stablelm": "model.norm",
    "bloom": "transformer.ln_f",  # and not word_embeddings_layernorm, before the blocks
    "mpt": "transformer.norm_f",
    "opt": "model.decoder.final_layer_norm",  # registered before the blocks
    "opt-post-norm": None,
    "mistral": "model.norm",
    "gemma2": "model.norm",
    "gemma3": "model.norm",
    "qwen3_moe": "model.norm",
    "mixtral": "model.norm",
    "mamba": "backbone.norm_f",
    "mamba2": "backbone.norm_f",
    "falcon_mamba": "backbone.norm_f",
    "rwkv": "rwkv.ln_out",
    "recurrent_gemma": "model.final_norm",
    "lfm2": "model.embedding_norm",
    "jamba": "model.final_layernorm",
    "bamba": "model.final_layernorm",
    "falcon_h1": "model.final_layernorm",
    "zamba2": "model.final_layernorm",
    "qwen3_next": "model.norm",
}
PLAIN_CASES = sorted(set(FAMILIES) - {"opt-projected", "phi3-longrope", "llama-dynamic"})


def names_above(model: nn.Module) -> set[str]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for p in parameters_above(model, decoder_blocks(model)[1])}


def on_meta(model: nn.Module) -> nn.Module:
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(model.config)
    return shape.to("meta")


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_the_final_norm_with_weights_and_on_the_meta_device(name: str) -> None:
    model, norm = tiny_model(name), NORMS[name]
    expected = set()
    if norm is not None:
        expected = {f"{norm}.{part}" for part, _ in model.get_submodule(norm).named_parameters()}
    assert names_above(model) == expected
    assert names_above(on_meta(model)) == expected


def test_an_output_projection_counts_as_well() -> None:
    model = tiny_model("opt-projected")
    expected = {"model.decoder.project_out.weight"} | {
        f"model.decoder.final_layer_norm.{part}" for part in ("weight", "bias")
    }
    assert names_above(model) == names_above(on_meta(model)) == expected


@pytest.mark.parametrize("name", ["opt", "phi3-longrope", "llama-dynamic", "rwkv"])
def test_nothing_is_left_behind(name: str) -> None:
    """Rotary tables among others, which "longrope" keeps from its first forward pass."""
    model, fresh = tiny_model(name).train(), tiny_model(name).train()
    parameters_above(model, decoder_blocks(model)[1])
    for module, other in zip(model.modules(), fresh.modules(), strict=True):
        assert module.training
        assert not module._forward_pre_hooks and vars(module).keys() == vars(other).keys()
    ids_BT = torch.arange(20)[None]
    scores_BTV = model.eval()(input_ids=ids_BT, use_cache=False).logits
    fresh_BTV = fresh.eval()(input_ids=ids_BT, use_cache=False).logits
    torch.testing.assert_close(scores_BTV, fresh_BTV)
    scores_BTV.sum().backward()


@pytest.mark.parametrize("name", ["opt", "llama", "qwen3_moe"])
@pytest.mark.parametrize("where", ["last:1", "head"])
def test_tuning_trains_it_and_what_it_trained_before(name: str, where: str) -> None:
    """`last:3` of Llama, the published default, is its blocks and the norm, now as before."""
    model = tiny_model(name)
    blocks, _ = decoder_blocks(model)
    prepare_tuning(model, where=where, lora_rank=0)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    norm = {n for n, _ in model.named_parameters() if n.startswith(f"{NORMS[name]}.")}
    if where == "head":
        outputs = model.get_output_embeddings().weight
        assert outputs.requires_grad
        assert trained - norm == {n for n, p in model.named_parameters() if p is outputs}
    else:
        last = {n for n, _ in model.named_parameters() if n.startswith(f"{blocks}.1.")}
        assert trained == last | norm and norm and last


def test_the_default_of_a_llama_against_a_written_list() -> None:
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    model = prepare_tuning(LlamaForCausalLM(config), where="last:3", lora_rank=0)
    parts = [f"self_attn.{x}_proj" for x in "qkvo"]
    parts += [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    parts += ["input_layernorm", "post_attention_layernorm"]
    expected = {f"model.layers.{block}.{part}.weight" for block in (1, 2, 3) for part in parts}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected | {
        "model.norm.weight"
    }


def test_what_cannot_be_followed_is_told_in_one_line() -> None:
    class Odd(Gemma2ForCausalLM):
        def forward(self, *args: object, **kwargs: object) -> object:
            raise TypeError("three streams and a table")

    model = Odd(Gemma2Config(vocab_size=8, hidden_size=8, num_hidden_layers=2, head_dim=4))
    with pytest.raises(UserError, match="Odd, which cannot be followed; use train.tune all"):
        prepare_tuning(model, where="last:1", lora_rank=0)
    prepare_tuning(model, where="first:1", lora_rank=0)
