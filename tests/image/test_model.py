"""Models of image codes: what is loaded, what fits together, both kinds through the core."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical
from transformers import (
    GenerationConfig,
    GPT2Config,
    ImageGPTConfig,
    ImageGPTForCausalImageModeling,
    T5Config,
)

from common.decode.generate import generate
from common.decode.methods import greedy_config, sampling_config
from common.errors import UserError
from common.measure.probe import probe_continuations, probe_sequences
from common.model.frozen_prefix import freeze_prefix
from common.model.head import attach_head
from common.model.tune import merged, prepare_tuning
from common.tools.modules import trainable_parameters
from image.model import (
    OnlyCodes,
    check_fits,
    load_transformer,
    meta_transformer,
    new_transformer,
    sequences,
    vocabulary,
)

CODES, TOKENS, BLOCKS = 12, 16, 3


def imagegpt(**options: Any) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 16, "n_layer": BLOCKS, "n_head": 2, "n_positions": TOKENS}
    config = ImageGPTConfig(vocab_size=CODES + 1, initializer_range=0.4, **(sizes | options))
    return ImageGPTForCausalImageModeling(config)


def llama(classes: int = 0) -> Any:
    torch.manual_seed(0)
    model = new_transformer(
        codes=CODES,
        classes=classes,
        tokens=TOKENS,
        hidden_size=16,
        layers=BLOCKS,
        heads=2,
        intermediate_size=24,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(15)  # random logits of some size
    return model


KINDS = {"llama": llama, "imagegpt": imagegpt}


def saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=KINDS)
def transformer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """One of the two kinds, saved and loaded."""
    return load_transformer(saved(KINDS[request.param](), tmp_path))


def images(count: int = 5) -> Tensor:
    """Whole sequences of random codes."""
    generator = torch.Generator().manual_seed(1)
    return sequences(torch.randint(CODES, (count, TOKENS), generator=generator), start=CODES)


def tokenizer(codes: int = CODES, grid: int = 4, fingerprint: str = "f" * 64) -> Any:
    return SimpleNamespace(vocab_size=codes, grid=grid, fingerprint=fingerprint)


# Sequences.


def test_sequences_begin_with_the_start_token_or_the_class() -> None:
    ids_NL = torch.tensor([[3, 1], [0, 2]], dtype=torch.int32)
    assert sequences(ids_NL, start=9).tolist() == [[9, 3, 1], [9, 0, 2]]
    labels_N = torch.tensor([2, 0])
    assert sequences(ids_NL, start=9, labels_N=labels_N).tolist() == [[12, 3, 1], [10, 0, 2]]
    empty_NL = torch.empty(2, 0, dtype=torch.int64)
    assert sequences(empty_NL, start=9, labels_N=labels_N).tolist() == [[12], [10]]


def test_codes_beyond_the_vocabulary_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        sequences(torch.tensor([[9]]), start=9)


def test_vocabulary_of_both_kinds() -> None:
    assert vocabulary(imagegpt()) == vocabulary(llama().config)
    assert vocabulary(imagegpt()).start == CODES == vocabulary(imagegpt()).codes
    model = llama(classes=3)
    assert (vocabulary(model).codes, vocabulary(model).classes) == (CODES, 3)
    assert model.get_input_embeddings().weight.shape[0] == CODES + 1 + 3


# Loading.


def test_a_llama_keeps_what_belongs_to_it(tmp_path: Path) -> None:
    model = llama(classes=2)
    model.config.image_tokenizer = "abc"
    model.config.image_class_names = ["day", "night"]
    path = saved(model, tmp_path)
    for again in (load_transformer(path, dtype=torch.bfloat16), meta_transformer(path)):
        assert vocabulary(again).class_names == ("day", "night")
        assert again.config.image_tokenizer == "abc" and vocabulary(again).codes == CODES
        assert (again.config.bos_token_id, again.config.eos_token_id) == (CODES, None)
    assert load_transformer(path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_imagegpt_is_loaded_without_dropout_and_with_eager_attention(tmp_path: Path) -> None:
    original = imagegpt().eval()
    assert original.config.attn_pdrop == 0.1
    model: Any = load_transformer(saved(original, tmp_path))
    assert isinstance(model, ImageGPTForCausalImageModeling) and not model.training
    rates = (model.config.attn_pdrop, model.config.embd_pdrop, model.config.resid_pdrop)
    assert rates == (0.0, 0.0, 0.0) and model.config._attn_implementation == "eager"
    ids_NT = images()[:, :-1]
    with torch.no_grad():
        want_BTV = original(input_ids=ids_NT).logits
        torch.testing.assert_close(model.train()(input_ids=ids_NT).logits, want_BTV)
    shape = meta_transformer(str(tmp_path))
    assert {p.device.type for p in shape.parameters()} == {"meta"}
    assert sum(p.numel() for p in shape.parameters()) == sum(p.numel() for p in model.parameters())


def test_what_is_no_causal_model_is_told(tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="model of image codes.*of type 't5'.*image.pretrain"):
        load_transformer(str(tmp_path))
    with pytest.raises(UserError, match="model of image codes; got './nowhere'"):
        meta_transformer("./nowhere")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"codes": 10}, f"a tokenizer with {CODES} codes, as the model has; got one with 10"),
        ({"grid": 6}, "at most 17 codes, the model's positions; got 36 \\(6 x 6\\)"),
        ({"fingerprint": "e" * 64}, "trained with \\(ffffffffffff\\); got another .*eeeeeeeeeeee"),
    ],
)
def test_what_does_not_fit_together_is_told(other: dict[str, Any], message: str) -> None:
    model = llama()
    check_fits(model, tokenizer(fingerprint="unknown"))
    model.config.image_tokenizer = "f" * 64
    check_fits(model, tokenizer())
    with pytest.raises(UserError, match=message):
        check_fits(model, tokenizer(**other))


def test_an_imagegpt_fits_when_every_position_is_a_code() -> None:
    check_fits(imagegpt(), tokenizer(grid=4))
    with pytest.raises(UserError, match="at most 16 codes"):
        check_fits(imagegpt(), tokenizer(grid=5))


def test_another_causal_model_is_told_by_its_vocabulary(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, bos_token_id=0)
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="a tokenizer with 49 codes"):
        check_fits(meta_transformer(str(tmp_path)), tokenizer())


# The core, on both kinds.


def test_statistics_against_categorical(transformer: Any) -> None:
    """Over whole images: one token more than an ImageGPT has positions."""
    ids_NT = images()
    head = attach_head(transformer, ids_NT)
    assert head.notice is None
    with torch.no_grad():
        stats = head.token_stats(head.hidden(ids_NT), ids_NT)
        logits_NLV = transformer(input_ids=ids_NT[:, :-1]).logits
    reference = Categorical(logits=logits_NLV.double())
    losses_NL = -reference.log_prob(ids_NT[:, 1:])
    assert losses_NL.std() > 0.5
    torch.testing.assert_close(stats.loss_nats.double(), losses_NL, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        stats.entropy_nats.double(), reference.entropy(), rtol=1e-5, atol=1e-5
    )


def test_gradients_against_cross_entropy(transformer: Any) -> None:
    ids_NT = images()
    head = attach_head(transformer, ids_NT)

    def gradients(loss: Tensor) -> dict[str, Tensor]:
        transformer.zero_grad()
        loss.backward()
        return {n: p.grad.clone() for n, p in transformer.named_parameters() if p.grad is not None}

    ours = gradients(head.train_loss(head.hidden(ids_NT), ids_NT).loss_sum)
    logits_NLV = transformer(input_ids=ids_NT[:, :-1]).logits
    expected = F.cross_entropy(logits_NLV.flatten(0, 1), ids_NT[:, 1:].flatten(), reduction="sum")
    theirs = gradients(expected)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def argmax_loop(model: Any, ids_PC: Tensor, new_tokens: int) -> np.ndarray:
    """Greedy without any cache, over the codes."""
    ids_PT = ids_PC
    with torch.no_grad():
        for _ in range(new_tokens):
            scores_PV = model(input_ids=ids_PT, use_cache=False).logits[:, -1, :CODES]
            ids_PT = torch.cat([ids_PT, scores_PV.argmax(dim=-1, keepdim=True)], dim=1)
    return ids_PT[:, ids_PC.shape[1] :].numpy()


@pytest.mark.parametrize("use_cache", [True, False])
def test_whole_images_against_an_uncached_loop(transformer: Any, use_cache: bool) -> None:
    """The growing cache, up to the last position."""
    prompts_PC = images()[:, :5]
    got = generate(
        transformer,
        prompts_PC,
        new_tokens=TOKENS - 4,
        method=greedy_config(),
        processors=[OnlyCodes(CODES)],
        use_cache=use_cache,
    )
    want_PN = argmax_loop(transformer, prompts_PC, TOKENS - 4)
    np.testing.assert_array_equal(np.stack(got), want_PN)
    assert len(np.unique(want_PN)) > 2  # not one code over and over


def test_probing_what_was_generated_to_the_last_position() -> None:
    model, prompts_PC = imagegpt().eval(), images()[:, :5]
    got = generate(model, prompts_PC, new_tokens=TOKENS - 4, method=greedy_config())
    probe = probe_continuations(model, prompts_PC, got, batch_size=3)
    assert probe.tokens == 5 * (TOKENS - 4) and probe.gold_rank.mean == 0.0


@pytest.mark.parametrize("where", ["all", "last:2", "first:1", "middle:1"])
@pytest.mark.parametrize("rank", [0, 2])
def test_tuning_changes_the_chosen_blocks_alone(transformer: Any, where: str, rank: int) -> None:
    blocks = {"all": {0, 1, 2}, "last:2": {1, 2}, "first:1": {0}, "middle:1": {1}}[where]
    model = prepare_tuning(transformer, where=where, lora_rank=rank)
    names = trainable_parameters(model)
    parts = [name.replace(".layers.", ".h.").split(".h.") for name in names]
    assert {int(part[1].split(".")[0]) for part in parts if len(part) == 2} == blocks
    ids_NT = images()
    head = attach_head(model, ids_NT)
    assert head.notice is None
    optimizer = torch.optim.AdamW(names.values(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = head.train_loss(head.hidden(ids_NT), ids_NT).loss_sum
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    after = float(probe_sequences(merged(model), ids_NT, batch_size=5).loss_nats.mean)
    final = head.train_loss(head.hidden(ids_NT), ids_NT).loss_sum / (5 * TOKENS)
    assert after == pytest.approx(float(final.detach()), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_prefix_serves_or_declines(kind: str) -> None:
    """ImageGPT adds positions to what it is fed, so its upper blocks alone differ."""
    model = prepare_tuning(KINDS[kind]().eval(), where="last:1", lora_rank=0)
    ids_NT = images()
    head = attach_head(model, ids_NT)
    prefix = freeze_prefix(
        head, ids_NT, batch_size=2, device=torch.device("cpu"), autocast=nullcontext
    )
    assert (prefix is None) == (kind == "imagegpt")
    if prefix is not None:
        want_BPD = head.hidden(ids_NT[[3, 0]])
        torch.testing.assert_close(prefix.hidden([3, 0]), want_BPD, rtol=1e-4, atol=1e-5)


# Only codes.


def test_other_tokens_get_no_probability() -> None:
    scores_BV = torch.tensor([[1.0, 2.0, 9.0, 8.0], [0.0, -1.0, 5.0, 7.0]])
    before_BV = scores_BV.clone()
    got_BV = OnlyCodes(2)(torch.zeros(2, 1, dtype=torch.int64), scores_BV)
    assert got_BV.tolist() == [[1.0, 2.0, -np.inf, -np.inf], [0.0, -1.0, -np.inf, -np.inf]]
    assert torch.equal(scores_BV, before_BV)
    assert torch.equal(OnlyCodes(4)(torch.zeros(2, 1, dtype=torch.int64), scores_BV), scores_BV)


@pytest.mark.parametrize("method", [greedy_config(), sampling_config()])
def test_a_model_that_prefers_its_start_token_still_gives_codes(method: GenerationConfig) -> None:
    model = llama(classes=2)
    model.lm_head = nn.Linear(16, CODES + 3)
    with torch.no_grad():
        model.lm_head.bias[CODES] = 1000.0
    prompts_PC = images()[:, :4]
    options: dict[str, Any] = {"new_tokens": 10, "method": method}
    free = np.stack(generate(model, prompts_PC, **options))
    kept = np.stack(generate(model, prompts_PC, processors=[OnlyCodes(CODES)], **options))
    assert (free == CODES).all() and kept.max() < CODES
