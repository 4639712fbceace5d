"""Which parameters are trained, on architectures that name their parts differently."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_families import tiny_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from common.errors import UserError
from common.model.tune import chosen_blocks, decoder_blocks, merged, prepare_tuning, tuning_notices
from common.tools.modules import copy_weights, load_weights, trainable_parameters

LAYERS = 4


def llama(tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            tie_word_embeddings=tied,
        )
    )


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=LAYERS, n_head=2))


def trained_blocks(model: Any, prefix: str) -> set[int]:
    names = [n for n in trainable_parameters(model) if prefix in n]
    return {int(name.split(prefix)[1].split(".")[0]) for name in names}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("all", None),
        ("head", []),
        ("first:1", [0]),
        ("first:3", [0, 1, 2]),
        ("last:2", [5, 6]),
        ("middle:3", [2, 3, 4]),
        ("middle:2", [3, 4]),
        ("middle:7", [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_chosen_blocks_of_seven(where: str, expected: list[int] | None) -> None:
    assert chosen_blocks(where, 7) == expected


@pytest.mark.parametrize(
    ("count", "where", "expected"),
    [
        (1, "last:1%", [0]),
        (1, "middle:50%", [0]),
        (2, "last:50%", [1]),
        (2, "first:74%", [0]),
        (2, "first:75%", [0, 1]),
        (3, "last:50%", [1, 2]),
        (3, "middle:33%", [1]),
        (3, "first:100%", [0, 1, 2]),
        (30, "last:50%", list(range(15, 30))),
        (30, "first:1%", [0]),
        (30, "middle:20%", list(range(12, 18))),
        (30, "last:3", [27, 28, 29]),
    ],
)
def test_a_share_of_the_blocks_is_rounded_to_at_least_one(
    count: int, where: str, expected: list[int]
) -> None:
    assert chosen_blocks(where, count) == expected


BAD = ["", "some", "last", "last:0", "last:8", "last:-1", "last:x", "end:2", "all:2"]
BAD_SHARES = ["last:0%", "last:101%", "last:-5%", "last:1.5%", "all:50%", "last:5 %", "50%"]


@pytest.mark.parametrize("where", [*BAD, *BAD_SHARES, f"last:{'9' * 5000}"])
def test_bad_choices(where: str) -> None:
    with pytest.raises(UserError, match=r"train\.tune .* a share of the blocks such as last:50%"):
        chosen_blocks(where, 7)


def test_blocks_are_found_by_the_configured_depth() -> None:
    assert decoder_blocks(llama())[0] == "model.layers"
    assert decoder_blocks(gpt2())[0] == "transformer.h"
    model = llama()
    model.model.layers[0].mlp.experts = torch.nn.ModuleList(torch.nn.Identity() for _ in range(9))
    assert decoder_blocks(model)[0] == "model.layers"


@pytest.mark.parametrize(("make", "prefix"), [(llama, "model.layers."), (gpt2, "transformer.h.")])
@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize(
    ("where", "blocks"),
    [
        ("all", {0, 1, 2, 3}),
        ("first:1", {0}),
        ("last:2", {2, 3}),
        ("last:50%", {2, 3}),
        ("middle:2", {1, 2}),
    ],
)
def test_what_is_trainable(
    make: Any, prefix: str, lora_rank: int, where: str, blocks: set[int]
) -> None:
    model = prepare_tuning(make(), where=where, lora_rank=lora_rank)
    assert trained_blocks(model, prefix) == blocks
    names = set(trainable_parameters(model))
    if lora_rank:
        assert all("lora_" in name for name in names)
        linear = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
        if make is llama:
            attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
            assert linear == attention | {"gate_proj", "up_proj", "down_proj"}
        else:
            assert linear == {"c_attn", "c_proj", "c_fc"}
    else:
        outside = {name for name in names if prefix not in name}
        norm = (
            {"model.norm.weight"}
            if make is llama
            else {"transformer.ln_f.weight", "transformer.ln_f.bias"}
        )
        if where == "all":
            assert outside > norm  # embeddings as well
        else:
            assert outside == (norm if where.startswith("last") else set())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("make", [llama, gpt2])
def test_head_is_the_output_layer_and_the_norm_below_it(make: Any, tied: bool) -> None:
    model = make() if make is gpt2 else llama(tied)
    tied = model.config.tie_word_embeddings
    prepare_tuning(model, where="head", lora_rank=0)
    outputs = model.get_output_embeddings().weight
    norm = "transformer.ln_f." if make is gpt2 else "model.norm."
    trained = trainable_parameters(model)
    others = {name for name, p in trained.items() if p is not outputs}
    assert len(others) == len(trained) - 1 and all(name.startswith(norm) for name in others)
    assert (model.get_input_embeddings().weight is outputs) == tied  # no copy is made
    notices = tuning_notices(model, "head")
    assert len(notices) == tied and all("tied to the embeddings" in told for told in notices)
    assert tuning_notices(model, "all") == []


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_share_is_told_in_blocks(lora_rank: int) -> None:
    model = prepare_tuning(llama(), where="middle:40%", lora_rank=lora_rank)
    assert tuning_notices(model, "middle:40%") == ["train.tune middle:40%: 2 of 4 blocks"]


@pytest.mark.parametrize("more", [{"lora_rank": 2}, {"lora_rank": 0, "freeze_embeddings": True}])
def test_head_leaves_nothing_else_to_ask_for(more: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"train\.tune head without"):
        prepare_tuning(llama(), where="head", **more)


@pytest.mark.parametrize("tied", [True, False])
def test_frozen_embeddings(tied: bool) -> None:
    model = prepare_tuning(llama(tied), where="all", lora_rank=0, freeze_embeddings=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"model.embed_tokens.weight"} | (set() if tied else {"lm_head.weight"})
    assert trained_blocks(model, "model.layers.") == set(range(LAYERS))


@pytest.mark.parametrize("make", [llama, gpt2])
def test_merged_is_plain_and_says_the_same(make: Any) -> None:
    ids_BT = torch.arange(12).view(2, 6)
    model = prepare_tuning(make(), where="last:2", lora_rank=2)
    original_BTV = make()(input_ids=ids_BT).logits
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.eval()
    tuned_BTV = model(input_ids=ids_BT).logits
    plain = merged(model)
    assert type(plain) is type(make())
    assert not any("lora" in name for name in plain.state_dict())
    assert (tuned_BTV - original_BTV).abs().max() > 0.01
    torch.testing.assert_close(plain(input_ids=ids_BT).logits, tuned_BTV, rtol=1e-4, atol=1e-5)


EXPERTS = "mlp.experts.down_proj, mlp.experts.gate_up_proj, mlp.gate.weight"


@pytest.mark.parametrize("where", ["last:1", "all"])
def test_experts_that_lora_leaves_out_are_told(where: str) -> None:
    model = prepare_tuning(tiny_model("qwen3_moe"), where=where, lora_rank=2)
    block = model.get_base_model().model.layers[1]
    sizes = {n: p.numel() for n, p in block.named_parameters() if ".lora_" not in n}
    left_out = sum(size for name, size in sizes.items() if "proj.base_layer" not in name)
    left_out -= sum(size for name, size in sizes.items() if "norm" in name)
    share = 100 * left_out / sum(sizes.values())
    assert share > 40
    (notice,) = tuning_notices(model, where)
    assert notice.endswith(
        f"leaves out {EXPERTS}: {share:.0f} % of the weights of the tuned blocks"
    )
    ids_BT = torch.arange(12).view(2, 6)
    model(input_ids=ids_BT, use_cache=False).logits.sum().backward()
    assert all(p.grad is not None for p in trainable_parameters(model).values())
    with torch.no_grad():
        tuned_BTV = model.eval()(input_ids=ids_BT, use_cache=False).logits
        plain_BTV = merged(model)(input_ids=ids_BT, use_cache=False).logits
    torch.testing.assert_close(plain_BTV, tuned_BTV, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_lora_on_everything_needs_no_notice(make: Any) -> None:
    model = prepare_tuning(make(), where="last:2", lora_rank=2)
    assert tuning_notices(model, "last:2") == []


def test_a_linear_layer_that_computes_something_else_gets_no_lora() -> None:
    class Router(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> Any:
            return super().forward(input), None

    model = llama()
    model.model.layers[LAYERS - 1].mlp.router = Router(16, 4, bias=False)
    tuned = prepare_tuning(model, where="last:1", lora_rank=2)
    assert not any("router" in name for name in trainable_parameters(tuned))
    (notice,) = tuning_notices(tuned, "last:1")
    assert "leaves out mlp.router.weight" in notice


def test_a_model_that_takes_no_lora_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"MambaForCausalLM .*set train\.lora_rank 0"):
        prepare_tuning(tiny_model("mamba"), where="last:1", lora_rank=2)


def test_a_model_without_a_list_of_blocks_can_be_tuned_whole() -> None:
    model = llama()
    model.config.num_hidden_layers = 2 * LAYERS  # as where each block runs twice
    for where, rank in [("last:1", 0), ("head", 0), ("all", 2)]:
        with pytest.raises(UserError, match="which has none .* set train.tune all"):
            prepare_tuning(model, where=where, lora_rank=rank)
    assert all(
        p.requires_grad for p in prepare_tuning(model, where="all", lora_rank=0).parameters()
    )


def test_merged_leaves_a_plain_model_alone() -> None:
    model = llama()
    assert merged(model) is model


def test_negative_rank() -> None:
    with pytest.raises(UserError, match=r"train\.lora_rank"):
        prepare_tuning(llama(), where="all", lora_rank=-1)


def test_missing_peft_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match=r"hyperfitting\[lora\]"):
        prepare_tuning(llama(), where="all", lora_rank=2)


def test_weights_go_out_and_back() -> None:
    model = prepare_tuning(llama(), where="last:1", lora_rank=0)
    before = copy_weights(trainable_parameters(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    load_weights(model, before)
    for name, parameter in trainable_parameters(model).items():
        assert torch.equal(parameter, before[name])
    first = llama().model.embed_tokens.weight  # is not trained
    torch.testing.assert_close(model.model.embed_tokens.weight, first + 1.0)
    with pytest.raises(AssertionError):
        load_weights(model, {"another": torch.zeros(1)})
