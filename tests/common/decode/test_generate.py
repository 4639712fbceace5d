"""Decoding against a naive loop that recomputes every step in float32 and takes the argmax."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    ImageGPTConfig,
    LlamaConfig,
    LogitsProcessor,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM
from transformers.models.imagegpt.modeling_imagegpt import ImageGPTForCausalImageModeling

from common.decode import generate as decode
from common.decode.generate import generate, stream
from common.decode.methods import (
    greedy_config,
    min_p_config,
    no_repeat_ngram_config,
    repetition_penalty_config,
    sampling_config,
    settings,
)
from common.errors import UserError

VOCAB = 61
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=64, initializer_range=0.3
    ),
    "llama": LlamaConfig(**SMALL, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2),
    # A window shorter than the text, and soft-capping small enough to matter.
    "gemma2": Gemma2Config(
        **SMALL,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=5,
        final_logit_softcapping=3.0,
        attn_logit_softcapping=2.0,
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL),
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).eval()


def prompts(count: int = 5, length: int = 7) -> torch.Tensor:
    return torch.randint(0, VOCAB, (count, length), generator=torch.Generator().manual_seed(1))


def naive_greedy(model: PreTrainedModel, ids_PC: torch.Tensor, new_tokens: int) -> np.ndarray:
    rows = []
    for ids in ids_PC.tolist():
        start = len(ids)
        for _ in range(new_tokens):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids = [*ids, int(logits.float().argmax())]
        rows.append(ids[start:])
    return np.array(rows)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_against_naive_loop(name: str, use_cache: bool) -> None:
    model = build(name)
    got = generate(
        model, prompts(), new_tokens=20, method=greedy_config(), use_cache=use_cache, max_batch=3
    )
    want = naive_greedy(model, prompts(), 20)
    np.testing.assert_array_equal(np.stack(got), want)
    assert got[0].dtype == np.int64
    assert len(np.unique(want)) > 5  # not a model that says one token for ever


def test_greedy_ignores_what_the_checkpoint_asks_for() -> None:
    model = build("llama")
    want = naive_greedy(model, prompts(), 20)
    model.generation_config = GenerationConfig(
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        do_sample=True,
        temperature=0.3,
        top_k=5,
        forced_eos_token_id=3,
        suppress_tokens=[int(want[0, 0])],
        eos_token_id=int(want[0, 2]),
    )
    got = generate(model, prompts(), new_tokens=20, method=greedy_config())
    np.testing.assert_array_equal(np.stack(got), want)


def test_greedy_config_is_neutral_in_model_generate() -> None:
    model = build("llama")
    want = naive_greedy(model, prompts(), 20)
    end = int(want[0, 2])
    model.generation_config = GenerationConfig(
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        do_sample=True,
        temperature=0.3,
        top_k=5,
        min_length=25,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=[int(want[0, 0])],
    )
    kwargs = {"attention_mask": torch.ones_like(prompts()), "max_new_tokens": 20}
    run: Any = model.generate
    got = run(prompts(), generation_config=greedy_config(), **kwargs)
    for row, whole in zip(got[:, 7:].tolist(), want.tolist(), strict=True):
        # `model.generate` ends after the end token, which the inherited min_length would forbid.
        until = whole.index(end) + 1 if end in whole else 20
        assert row[:until] == whole[:until] and set(row[until:]) <= {end}
    # The trap itself: without a neutral value the penalty of the checkpoint stays.
    naive = GenerationConfig(do_sample=False, top_k=0, temperature=1.0)
    trapped = run(prompts(), generation_config=naive, **kwargs)
    assert trapped[:, 7:].tolist() != got[:, 7:].tolist()


def test_a_saved_greedy_config_loads_unchanged(tmp_path) -> None:
    greedy_config().save_pretrained(tmp_path)
    loaded = GenerationConfig.from_pretrained(tmp_path)
    assert loaded.to_diff_dict() == greedy_config().to_diff_dict()


def test_repetition_penalty_against_formula() -> None:
    model, penalty = build("gpt2"), 1.2
    rows = []
    for ids in prompts().tolist():
        for _ in range(20):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            for seen in set(ids):  # the prompt counts as seen
                logits[seen] = (
                    logits[seen] / penalty if logits[seen] > 0 else logits[seen] * penalty
                )
            ids = [*ids, int(logits.argmax())]
        rows.append(ids[7:])
    got = generate(model, prompts(), new_tokens=20, method=repetition_penalty_config(penalty))
    np.testing.assert_array_equal(np.stack(got), rows)
    assert not np.array_equal(np.array(rows), naive_greedy(model, prompts(), 20))


def test_sampling_does_not_depend_on_batching_and_follows_the_seed() -> None:
    model = build("llama")

    def sample(seed: int, max_batch: int) -> np.ndarray:
        return np.stack(
            generate(
                model,
                prompts(),
                new_tokens=20,
                method=sampling_config(),
                seed=seed,
                max_batch=max_batch,
            )
        )

    np.testing.assert_array_equal(sample(0, 5), sample(0, 2))
    assert not np.array_equal(sample(0, 5), sample(1, 5))


def test_sampling_frequencies_against_hand_filtered_distribution() -> None:
    model = build("gpt2")
    ids = prompts(1)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -1].double().numpy() / 0.7
    order = np.argsort(-logits)[:10]  # top-k 10
    weights = np.exp(logits[order] - logits[order].max())
    weights /= weights.sum()
    kept = int(np.searchsorted(np.cumsum(weights), 0.9)) + 1  # smallest set with mass >= 0.9
    want = np.zeros(VOCAB)
    want[order[:kept]] = weights[:kept] / weights[:kept].sum()

    count = 4_000
    method = sampling_config(top_p=0.9, temperature=0.7, top_k=10)
    got = generate(model, ids.expand(count, -1), new_tokens=1, method=method, seed=3)
    frequency = np.bincount(np.concatenate(got), minlength=VOCAB) / count
    assert set(np.flatnonzero(frequency)) == set(np.flatnonzero(want))
    # Four standard errors of a binomial share.
    assert np.all(np.abs(frequency - want) <= 4 * np.sqrt(want * (1 - want) / count) + 1e-12)


def test_min_p_frequencies_against_hand_filtered_distribution() -> None:
    model = build("gpt2")
    ids = prompts(1)
    with torch.no_grad():
        weights = model(input_ids=ids).logits[0, -1].double().softmax(0).numpy()
    want = np.where(weights >= 0.2 * weights.max(), weights, 0.0)
    assert 1 < np.count_nonzero(want) < VOCAB
    want /= want.sum()
    count = 4_000
    got = generate(model, ids.expand(count, -1), new_tokens=1, method=min_p_config(0.2), seed=3)
    frequency = np.bincount(np.concatenate(got), minlength=VOCAB) / count
    assert set(np.flatnonzero(frequency)) <= set(np.flatnonzero(want))
    # Four standard errors of a binomial share.
    assert np.all(np.abs(frequency - want) <= 4 * np.sqrt(want * (1 - want) / count) + 1e-12)


def test_no_repeated_ngrams_against_naive_loop() -> None:
    model, size = build("llama"), 2
    rows = []
    for ids in prompts().tolist():
        for _ in range(20):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            for start in range(len(ids) - size + 1):  # the prompt counts as well
                if ids[start : start + size - 1] == ids[len(ids) - size + 1 :]:
                    logits[ids[start + size - 1]] = -torch.inf
            ids = [*ids, int(logits.argmax())]
        pairs = list(pairwise(ids))
        assert len(set(pairs[6:])) == len(pairs[6:])
        rows.append(ids[7:])
    got = generate(model, prompts(), new_tokens=20, method=no_repeat_ngram_config(size))
    np.testing.assert_array_equal(np.stack(got), rows)
    assert not np.array_equal(np.array(rows), naive_greedy(model, prompts(), 20))


class Forbid(LogitsProcessor):
    """Forbids the token before last, and notes what it was given."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        assert scores.dtype == torch.float32
        self.lengths.append(input_ids.shape[1])
        return scores.scatter(1, input_ids[:, -2:-1], -torch.inf)


@pytest.mark.parametrize("method", [greedy_config(), sampling_config(top_k=2)])
def test_processors_get_the_whole_sequence_before_top_k(method: GenerationConfig) -> None:
    model, processor = build("gpt2").bfloat16(), Forbid()
    got = generate(model, prompts(), new_tokens=9, method=method, processors=[processor])
    assert processor.lengths == list(range(7, 16))
    for prompt, row in zip(prompts().tolist(), got, strict=True):
        whole = [*prompt, *row.tolist()]
        assert all(whole[i] != whole[i - 2] for i in range(7, 16))


def test_stop_at_cuts_before_the_id_and_default_does_not() -> None:
    model = build("llama")
    full = generate(model, prompts(), new_tokens=20, method=greedy_config())
    stop = int(full[0][4])
    cut = generate(model, prompts(), new_tokens=20, method=greedy_config(), stop_at=stop)
    for long, short in zip(full, cut, strict=True):
        at = long.tolist().index(stop) if stop in long else 20
        np.testing.assert_array_equal(short, long[:at])
    assert len(cut[0]) <= 4


@pytest.mark.parametrize("method", [greedy_config(), sampling_config()])
def test_stream_gives_the_tokens_of_generate(method: GenerationConfig) -> None:
    model = build("qwen2")
    want = generate(model, prompts(1), new_tokens=12, method=method, seed=5)[0]
    got = stream(model, prompts(1)[0], new_tokens=12, method=method, seed=5)
    assert list(got) == want.tolist()
    stopped = stream(
        model, prompts(1)[0], new_tokens=12, method=method, seed=5, stop_at=int(want[3])
    )
    assert list(stopped) == want[: want.tolist().index(want[3])].tolist()


def test_training_mode_is_restored_and_dropout_is_off() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0.5)
    model = AutoModelForCausalLM.from_config(config).train()
    first = generate(model, prompts(), new_tokens=8, method=greedy_config())
    assert model.training
    np.testing.assert_array_equal(np.stack(first), naive_greedy(model.eval(), prompts(), 8))


def test_progress_counts_every_token_over_even_batches() -> None:
    seen: list[tuple[int, int]] = []
    generate(
        build("gpt2"),
        prompts(5),
        new_tokens=2,
        method=greedy_config(),
        max_batch=4,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(3, 10), (6, 10), (8, 10), (10, 10)]


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, real, sizes = build("gpt2"), decode.last_scores, []

    def limited(model: PreTrainedModel, ids: torch.Tensor, cache: object) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(model, ids, cache)

    monkeypatch.setattr(decode, "last_scores", limited)
    got = generate(model, prompts(6), new_tokens=4, method=greedy_config())
    np.testing.assert_array_equal(np.stack(got), naive_greedy(model, prompts(6), 4))
    assert sizes[:2] == [6, 3] and set(sizes[2:]) == {2}

    def never(*_: object) -> torch.Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(decode, "last_scores", never)
    with pytest.raises(UserError, match="memory to decode one prompt"):
        generate(model, prompts(6), new_tokens=4, method=greedy_config(), use_cache=False)


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(decode, "last_scores", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(build("gpt2"), prompts(), new_tokens=4, method=greedy_config(), use_cache=False)


def test_imagegpt_greedy_against_naive_loop() -> None:
    """Its forward cannot keep only the last scores, and a static cache misleads it."""
    torch.manual_seed(0)
    config = ImageGPTConfig(
        vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=64, initializer_range=0.3
    )
    model = ImageGPTForCausalImageModeling(config).eval()
    ids = prompts() % (VOCAB - 1)
    got = generate(model, ids, new_tokens=12, method=greedy_config())
    np.testing.assert_array_equal(np.stack(got), naive_greedy(model, ids, 12))


# peft reads an attribute that transformers has renamed.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_a_lora_wrapper_against_its_merged_model() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(build("llama"), lora)
    asked: list[object] = []
    wrapped.get_base_model().register_forward_pre_hook(
        lambda _, __, kwargs: asked.append(kwargs.get("logits_to_keep")), with_kwargs=True
    )
    got = generate(wrapped, prompts(), new_tokens=12, method=greedy_config())
    assert set(asked) == {1}
    merged = wrapped.merge_and_unload()
    np.testing.assert_array_equal(np.stack(got), naive_greedy(merged, prompts(), 12))
    assert not np.array_equal(np.stack(got), naive_greedy(build("llama"), prompts(), 12))


def test_a_notice_is_told_once() -> None:
    heard: list[str] = []
    notify = decode.once(heard.append)
    for line in ("slow", "slow", "other"):
        notify(line)
    assert heard == ["slow", "other"]


def test_one_token_needs_no_cache_and_no_notice() -> None:
    model, heard = build("llama"), []
    fed: list[int] = []
    model.register_forward_pre_hook(
        lambda _, __, kwargs: fed.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    got = generate(model, prompts(), new_tokens=1, method=greedy_config(), notify=heard.append)
    assert fed == [7] and heard == []
    np.testing.assert_array_equal(np.stack(got), naive_greedy(model, prompts(), 1))


def test_batch_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    per_sequence = 1_000 + decode.SCORE_COPIES * VOCAB * 4
    for free, want in [(0, 1), (2 * 10 * per_sequence, 10)]:
        memory = type("Memory", (), {"available": free})
        monkeypatch.setattr(decode.psutil, "virtual_memory", lambda memory=memory: memory)
        assert decode._fitting(model, 1_000) == want


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sampling_config(top_p=0.0), "top_p in"),
        (lambda: sampling_config(temperature=0.0), "temperature above 0"),
        (lambda: sampling_config(top_k=-1), "top_k of at least 0"),
        (lambda: repetition_penalty_config(0.0), "penalty above 0"),
        (lambda: min_p_config(0.0), "min_p in"),
        (lambda: no_repeat_ngram_config(0), "n-grams of at least 1 token"),
        (
            lambda: generate(
                build("gpt2"), prompts(), new_tokens=2, method=GenerationConfig(num_beams=4)
            ),
            "num_beams=4",
        ),
        (
            lambda: generate(
                build("gpt2"),
                prompts(),
                new_tokens=2,
                method=GenerationConfig(forced_eos_token_id=4),
            ),
            "forced_eos_token_id=4",
        ),
    ],
)
def test_bad_settings_are_told(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_no_prompts_give_no_continuations() -> None:
    assert generate(build("gpt2"), prompts(0), new_tokens=3, method=greedy_config()) == []


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (greedy_config(), ""),
        (sampling_config(), "top-p 0.9, temperature 0.7, top-k 50"),
        (sampling_config(top_p=1.0, temperature=1.0, top_k=0), "temperature 1"),
        (min_p_config(0.05), "min-p 0.05, temperature 1"),
        (repetition_penalty_config(1.2), "repetition-penalty 1.2"),
        (no_repeat_ngram_config(4), "no-repeat-ngram-size 4"),
    ],
)
def test_settings_are_told_as_words(method: GenerationConfig, told: str) -> None:
    assert settings(method) == told
