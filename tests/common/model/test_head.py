"""The head against `torch.distributions`, `F.cross_entropy` and `model(...).logits`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoConfig,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from common.model.head import attach_head
from common.model.linear_loss import first_choice, linear_loss, linear_stats, top_logits
from common.model.token_stats import TokenSums

SHAPE: dict[str, Any] = {
    "vocab_size": 401,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,  # logits of some size, so that capping and sharpness show
    "attn_implementation": "eager",
}


def gpt2() -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": 401,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
    }
    return GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.4))


def llama(**options: Any) -> Any:
    return LlamaForCausalLM(LlamaConfig(**(SHAPE | options)))


def qwen2() -> Any:
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE))


def gemma2(**options: Any) -> Any:
    return Gemma2ForCausalLM(Gemma2Config(**(SHAPE | options)))


def gpt_neox() -> Any:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE))


def granite() -> Any:
    return GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0))


def cohere() -> Any:
    return CohereForCausalLM(CohereConfig(**SHAPE))


LEAN = [gpt2, llama, qwen2, gpt_neox]
PLAIN = [gemma2, granite, cohere]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def some_ids(rows: int = 3, tokens: int = 20) -> Tensor:
    return torch.randint(0, 401, (rows, tokens))


class BiggestFloat32(TorchDispatchMode):
    """Records the element count of the largest float32 result of any operator."""

    biggest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, Tensor) and value.dtype == torch.float32:
                self.biggest = max(self.biggest, value.numel())
        return result


class Products(TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        self.count += func.overloadpacket in (aten.mm, aten.addmm, aten.addmm_)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("make", LEAN + PLAIN)
def test_statistics_against_categorical(make: Callable[[], Any]) -> None:
    model, ids_BT = make().eval(), some_ids()
    head = attach_head(model, ids_BT, chunk_tokens=7)
    assert (head.notice is None) == (make in LEAN)
    with torch.no_grad():
        stats = head.token_stats(head.hidden(ids_BT), ids_BT)
        logits_BTV = model(ids_BT).logits[:, :-1].double()
    reference = Categorical(logits=logits_BTV)
    sorted_BTV = reference.probs.sort(dim=-1, descending=True).values
    gold_BT1 = ids_BT[:, 1:, None]
    expected = {
        "loss_nats": -reference.log_prob(ids_BT[:, 1:]),
        "entropy_nats": reference.entropy(),
        "top1_mass": sorted_BTV[..., 0],
        "top3_mass": sorted_BTV[..., :3].sum(-1),
        "top5_mass": sorted_BTV[..., :5].sum(-1),
    }
    for name, values_BT in expected.items():
        torch.testing.assert_close(
            getattr(stats, name).double(), values_BT, rtol=1e-5, atol=1e-5, msg=name
        )
    order_BTV = logits_BTV.argsort(dim=-1, descending=True, stable=True)
    assert torch.equal(stats.gold_rank, (order_BTV == gold_BT1).double().argmax(dim=-1))


@pytest.mark.parametrize("make", [gpt2, gemma2])
def test_the_last_token_is_not_fed(make: Callable[[], Any]) -> None:
    """A sequence may be one longer than the model's positions, and begin with an id that the
    output layer does not know."""
    model, ids_BT = make().eval(), some_ids()
    head, fed = attach_head(model, ids_BT), []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: fed.append(args[0]))
    head.hidden(ids_BT)
    assert [tuple(part.shape) for part in fed] == [(3, 19)]
    assert torch.equal(fed[0], ids_BT[:, :-1])


def test_the_models_here_are_sharp_enough_to_tell() -> None:
    probs = llama().eval()(some_ids()).logits.softmax(dim=-1)
    assert probs.amax(dim=-1).median() > 0.05  # uniform would be 0.0025


def test_plain_path_says_why() -> None:
    notice = attach_head(gemma2(), some_ids()).notice
    assert notice is not None
    assert "Gemma2ForCausalLM" in notice and "plain path" in notice


def test_soft_capping_is_found_while_logits_are_small() -> None:
    capped = gemma2(initializer_range=0.001)
    assert capped(some_ids()).logits.abs().max() < 0.1  # capping at 30 changes this by < 4e-7
    assert attach_head(capped, some_ids()).notice is not None
    assert attach_head(gemma2(final_logit_softcapping=None), some_ids()).notice is None


def test_attaching_leaves_no_trace() -> None:
    model, ids_BT = llama(), some_ids()
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    before_BTV = model(ids_BT).logits
    attach_head(model, ids_BT)
    assert torch.equal(model(ids_BT).logits, before_BTV)
    assert [module.training for module in model.modules()] == modes


def reference_loss(logits_BTV: Tensor, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    gold_BT = ids_BT[:, 1:].masked_fill(~mask_BT[:, 1:], -100)
    return F.cross_entropy(
        logits_BTV[:, :-1].float().flatten(0, 1), gold_BT.flatten(), reduction="sum"
    )


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert found
    return found


def with_bias(tied: bool) -> Any:
    model = llama(tie_word_embeddings=tied)
    weight = model.lm_head.weight
    model.lm_head = nn.Linear(32, 401)
    model.lm_head.weight = weight
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: llama(tie_word_embeddings=True),
        lambda: llama(tie_word_embeddings=False),
        lambda: with_bias(tied=True),
        lambda: with_bias(tied=False),
        gemma2,
    ],
    ids=["tied", "untied", "tied-bias", "untied-bias", "plain-path"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_against_cross_entropy(make: Callable[[], Any], masked: bool) -> None:
    model, ids_BT = make().eval(), some_ids()
    mask_BT = torch.rand(ids_BT.shape) < 0.6 if masked else torch.ones_like(ids_BT).bool()
    if masked:
        mask_BT[1] = False
    head = attach_head(model, ids_BT, chunk_tokens=13)
    loss = head.train_loss(head.hidden(ids_BT), ids_BT, mask_BT=mask_BT if masked else None)
    assert loss.tokens == mask_BT[:, 1:].sum()
    right_BP = model(ids_BT).logits[:, :-1].argmax(dim=-1) == ids_BT[:, 1:]
    assert not loss.correct.requires_grad
    assert loss.correct == (right_BP & mask_BT[:, 1:]).sum()
    expected = reference_loss(model(ids_BT).logits, ids_BT, mask_BT)
    torch.testing.assert_close(loss.loss_sum, expected, rtol=1e-5, atol=1e-5)
    ours = gradients(loss.loss_sum / loss.tokens, model)
    theirs = gradients(expected / loss.tokens, model)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_gradients_under_bf16_autocast() -> None:
    """As near the float32 gradients as autograd through bf16 logits comes, from one body."""
    model, ids_BT = llama(), some_ids()
    head = attach_head(model, ids_BT, chunk_tokens=13)
    hidden_BPD = head.hidden(ids_BT).detach().requires_grad_()
    leaves = {"hidden": hidden_BPD, "weight": model.lm_head.weight}

    def plain(logits_BPV: Tensor) -> Tensor:
        gold_BP = ids_BT[:, 1:]
        return F.cross_entropy(logits_BPV.float().flatten(0, 1), gold_BP.flatten(), reduction="sum")

    def grads(loss: Tensor) -> dict[str, Tensor]:
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    exact = grads(plain(model.lm_head(hidden_BPD)))
    with torch.autocast("cpu", torch.bfloat16):
        logits_BPV = model.lm_head(hidden_BPD)
        assert logits_BPV.dtype == torch.bfloat16
        plain_loss = plain(logits_BPV)
        lean_loss = head.train_loss(hidden_BPD, ids_BT).loss_sum
    assert lean_loss.dtype == torch.float32
    torch.testing.assert_close(lean_loss, plain_loss, rtol=1e-5, atol=0)
    lean, rounded = grads(lean_loss), grads(plain_loss)
    for name, gradient in exact.items():
        assert lean[name].dtype == torch.float32
        error, usual = (lean[name] - gradient).norm(), (rounded[name] - gradient).norm()
        assert 0 < error < 1.2 * usual < 0.03 * gradient.norm(), name


def test_all_tokens_masked_gives_zero_and_no_nan() -> None:
    model, ids_BT = llama(), some_ids()
    head = attach_head(model, ids_BT)
    nothing_BT = torch.zeros_like(ids_BT).bool()
    loss = head.train_loss(head.hidden(ids_BT), ids_BT, mask_BT=nothing_BT)
    assert loss.loss_sum == 0 and loss.tokens == 0
    assert all(not gradient.any() for gradient in gradients(loss.loss_sum, model).values())


def test_bf16_weights_get_bf16_gradients() -> None:
    model, ids_BT = llama().to(torch.bfloat16), some_ids()
    head = attach_head(model, ids_BT)
    assert head.notice is None
    found = gradients(head.train_loss(head.hidden(ids_BT), ids_BT).loss_sum, model)
    assert found["lm_head.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("masked", [False, True])
def test_sums_are_those_of_the_tokens(masked: bool) -> None:
    model, ids_BT = llama(initializer_range=1.0), some_ids(8, 30)
    head = attach_head(model, ids_BT, chunk_tokens=50)
    hidden_BTD = head.hidden(ids_BT)
    mask_BT = torch.rand(ids_BT.shape) < (0.5 if masked else 2.0)
    loss = head.train_loss(hidden_BTD, ids_BT, mask_BT=mask_BT)
    tokens = head.token_stats(hidden_BTD, ids_BT)
    counted_BT = mask_BT[:, 1:]
    assert loss.stats is not None
    means = (loss.stats + loss.stats).means()
    top1 = tokens.top1_mass[counted_BT]
    assert 0 < (top1 > 0.99).sum() < (top1 > 0.9).sum() < len(top1)
    expected = {
        "entropy_nats": tokens.entropy_nats[counted_BT].mean(),
        "top1_mass": top1.mean(),
        "top3_mass": tokens.top3_mass[counted_BT].mean(),
        "top5_mass": tokens.top5_mass[counted_BT].mean(),
        "p1_over_90": (top1 > 0.9).float().mean(),
        "p1_over_99": (top1 > 0.99).float().mean(),
    }
    assert means == pytest.approx({name: value.item() for name, value in expected.items()})
    assert not any(value.requires_grad for value in vars(loss.stats).values())


def test_statistics_can_be_left_out() -> None:
    model, ids_BT = llama(), some_ids()
    head = attach_head(model, ids_BT)
    hidden_BTD = head.hidden(ids_BT)
    without = head.train_loss(hidden_BTD, ids_BT, stats=False)
    assert without.stats is None
    assert torch.equal(without.loss_sum, head.train_loss(hidden_BTD, ids_BT).loss_sum)


def test_no_float32_logits_of_the_batch() -> None:
    model, ids_BT = llama(), some_ids(8, 50)
    head = attach_head(model, ids_BT, chunk_tokens=32)
    logits_of_batch = ids_BT.numel() * 401
    with BiggestFloat32() as plain:
        reference_loss(model(ids_BT).logits, ids_BT, torch.ones_like(ids_BT).bool()).backward()
    with BiggestFloat32() as lean:
        head.train_loss(head.hidden(ids_BT), ids_BT).loss_sum.backward()
    with BiggestFloat32() as scored:
        head.token_stats(head.hidden(ids_BT), ids_BT)
    assert plain.biggest >= logits_of_batch * 49 / 50
    assert max(lean.biggest, scored.biggest) < logits_of_batch / 4


def test_three_products_a_chunk_and_one_without_gradients() -> None:
    model, ids_BT = llama(), some_ids(2, 30)
    head = attach_head(model, ids_BT, chunk_tokens=20)
    hidden_BTD = head.hidden(ids_BT)
    with Products() as training:
        head.train_loss(hidden_BTD, ids_BT).loss_sum.backward(inputs=[hidden_BTD])
    with Products() as scoring, torch.no_grad():
        assert not head.train_loss(hidden_BTD, ids_BT).loss_sum.requires_grad
    model.requires_grad_(False)
    with Products() as frozen:
        head.train_loss(hidden_BTD, ids_BT)
    assert (training.count, scoring.count, frozen.count) == (9, 3, 6)


def test_a_replaced_body_is_used() -> None:
    model, ids_BT = llama(), some_ids()
    head = attach_head(model, ids_BT)
    body, calls = head.body, []
    head.body = lambda **inputs: calls.append(inputs) or body(**inputs)
    head.hidden(ids_BT)
    assert len(calls) == 1


def lora(targets: list[str]) -> Any:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False)
    return peft.get_peft_model(llama(), config)


# peft still asks transformers for a property that was renamed.
IGNORE_RENAMED = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@IGNORE_RENAMED
def test_peft_model_is_lean_and_trains_its_adapter_alone() -> None:
    model, ids_BT = lora(["q_proj", "v_proj"]), some_ids()
    head = attach_head(model, ids_BT)
    assert head.notice is None
    all_BT = torch.ones_like(ids_BT).bool()
    loss = head.train_loss(head.hidden(ids_BT), ids_BT)
    expected = reference_loss(model(input_ids=ids_BT).logits, ids_BT, all_BT)
    ours, theirs = gradients(loss.loss_sum, model), gradients(expected, model)
    assert ours.keys() == theirs.keys() and all("lora" in name for name in ours)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


@IGNORE_RENAMED
def test_adapter_on_the_output_layer_takes_the_plain_path() -> None:
    model, ids_BT = lora(["q_proj", "lm_head"]), some_ids()
    head = attach_head(model, ids_BT)
    assert head.notice is not None and "output layer" in head.notice
    loss = head.train_loss(head.hidden(ids_BT), ids_BT).loss_sum
    all_BT = torch.ones_like(ids_BT).bool()
    expected = reference_loss(model(input_ids=ids_BT).logits, ids_BT, all_BT)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("vocabulary", [3, 100, 320, 384, 1000, 8192, 8209])
def test_top_logits_against_topk(vocabulary: int) -> None:
    logits_CV = (torch.randn(50, vocabulary) * 20).round() / 10  # with ties
    expected = logits_CV.topk(min(5, vocabulary)).values
    assert torch.equal(top_logits(logits_CV), expected)


@pytest.mark.parametrize("vocabulary", [1, 5, 64, 127, 128, 200, 257, 8192, 8209])
def test_first_choice_against_argmax(vocabulary: int) -> None:
    logits_CV = torch.randn(200, vocabulary)
    for scores_CV in (logits_CV, logits_CV.bfloat16().float(), (logits_CV * 2).round()):  # ties
        max_C1, ids_C = first_choice(scores_CV)
        assert torch.equal(ids_C, scores_CV.argmax(dim=-1))
        assert torch.equal(max_C1, scores_CV.amax(dim=-1, keepdim=True))


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("chunk_tokens", [7, 40, 512])
def test_correct_tokens_against_a_count_by_argmax(stats: bool, chunk_tokens: int) -> None:
    logits_NV = (torch.randn(40, 300) * 2).round()  # several tokens share the largest logit
    gold_N = logits_NV.argmax(dim=-1)
    last_N = 299 - logits_NV.flip(-1).argmax(dim=-1)  # the last of equal ones is no first choice
    gold_N[::3] = last_N[::3]
    counted_N = torch.rand(40) < 0.7
    _, correct, _ = linear_loss(
        logits_NV, None, None, gold_N, counted_N, chunk_tokens=chunk_tokens, stats=stats
    )
    expected = 0
    for row in range(40):
        scores = logits_NV[row].tolist()
        expected += bool(counted_N[row]) and scores.index(max(scores)) == gold_N[row]
    assert 0 < expected < counted_N.sum() and correct == expected


def test_a_lead_of_60_gives_exactly_zero_loss() -> None:
    logits_NV = torch.zeros(2, 400)
    logits_NV[:, 7] = 60.0
    gold_N, every_N = torch.tensor([7, 8]), torch.ones(2).bool()
    stats = linear_stats(logits_NV, None, None, gold_N, chunk_tokens=1)
    assert stats.loss_nats.tolist() == [0.0, 60.0]
    assert stats.top1_mass.tolist() == [1.0, 1.0]
    exact = Categorical(logits=logits_NV[0].double()).entropy()  # about 2e-22, not 0
    torch.testing.assert_close(stats.entropy_nats[0].double(), exact, rtol=1e-5, atol=0)
    assert stats.gold_rank.tolist() == [0, 8]
    logits_NV.requires_grad_()
    loss, correct, sums = linear_loss(
        logits_NV, None, None, gold_N, every_N & (gold_N == 7), chunk_tokens=1, stats=True
    )
    loss.backward()
    assert correct == 1
    assert loss == 0 and isinstance(sums, TokenSums) and sums.top5_mass == 1
    assert logits_NV.grad is not None and logits_NV.grad.abs().max() < 1e-20


def test_ties_rank_as_argmax_does() -> None:
    logits_NV = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0]]).expand(5, 5).contiguous()
    before_NV = logits_NV.clone()
    ranks = linear_stats(logits_NV, None, None, torch.arange(5), chunk_tokens=2).gold_rank
    assert ranks.tolist() == [4, 0, 1, 3, 2]
    assert ranks[logits_NV[0].argmax()] == 0
    assert torch.equal(logits_NV, before_NV)  # the caller's logits are not worked in


@pytest.mark.parametrize(
    ("kind", "lean"), [("llama4_text", True), ("modernbert-decoder", False), ("rembert", False)]
)
def test_models_that_name_their_parts_otherwise(kind: str, lean: bool) -> None:
    """Llama-4 gives itself as its decoder, ModernBERT its output layer; RemBERT makes states wider
    before the product."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=401,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **({"is_decoder": True, "output_embedding_size": 24} if kind == "rembert" else {}),
        **(
            {"num_local_experts": 2, "head_dim": 8, "num_key_value_heads": 2}
            if kind == "llama4_text"
            else {}
        ),
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    head, ids_BT = attach_head(model, some_ids()), some_ids()
    assert (head.notice is None) == lean
    with torch.no_grad():
        loss = head.train_loss(head.hidden(ids_BT), ids_BT).loss_sum
        scores_BPV = model(input_ids=ids_BT[:, :-1], use_cache=False).logits
    want = torch.nn.functional.cross_entropy(
        scores_BPV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="sum"
    )
    torch.testing.assert_close(loss, want, rtol=1e-4, atol=1e-4)
