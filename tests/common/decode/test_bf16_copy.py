"""The copy that decodes, against the model itself under the same autocast."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from tiny_families import FAMILIES, tiny_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from walk_runs import Walks

from common.decode.bf16_copy import decoding_copy
from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.evaluate import Evaluator
from common.model.tune import prepare_tuning
from common.tools.device import Compute

BF16 = Compute(torch.device("cpu"), bf16=True)
IDS = torch.arange(3 * 6).reshape(3, 6) % 60


def scores(model: Any) -> Tensor:
    with BF16.autocast(), torch.inference_mode():
        return model(input_ids=IDS).logits


class Casts(TorchDispatchMode):
    """Counts what is cast to bf16, by number of values."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Outside of inference mode a cast comes as _to_copy(dtype=...), in it as to(x, dtype).
        asked = any(one is torch.bfloat16 for one in (*args[1:], kwargs.get("dtype")))
        if asked and "to" in str(func) and args[0].dtype is torch.float32:
            self.sizes.append(args[0].numel())
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_under_autocast_are_the_same_to_the_bit(name: str) -> None:
    model = tiny_model(name)
    torch.testing.assert_close(scores(decoding_copy(model)), scores(model), rtol=0, atol=0)


@pytest.mark.parametrize("where", ["all", "last:1"])
def test_lora_and_tied_weights(where: str) -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    model = prepare_tuning(model, where=where, lora_rank=2, freeze_embeddings=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    torch.testing.assert_close(scores(decoding_copy(model)), scores(model), rtol=0, atol=0)


def test_greedy_continuations_are_the_same() -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    options: dict[str, Any] = {"new_tokens": 12, "method": greedy_config()}
    with BF16.autocast():
        plain, copied = (generate(m, IDS, **options) for m in (model, decoding_copy(model)))
    assert [text.tolist() for text in copied] == [text.tolist() for text in plain]


def test_each_weight_is_cast_once() -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    linear = [m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear)]
    with Casts() as making:
        twin = decoding_copy(model)
    assert sorted(making.sizes) == sorted(linear)

    def while_decoding(one: Any) -> int:
        with Casts() as casts, BF16.autocast():
            generate(one, IDS, new_tokens=6, method=greedy_config())
        return sum(casts.sizes)

    steps = 5  # at least: the cache is tried as well
    assert while_decoding(model) - while_decoding(twin) >= steps * sum(linear)


def test_the_model_stays_as_it_is_and_the_copy_goes() -> None:
    model = tiny_model("gpt2")
    before = copy.deepcopy(model.state_dict())
    twin = decoding_copy(model)
    # Only the linear layers take memory of their own.
    own = {p.data_ptr() for p in twin.parameters()} - {p.data_ptr() for p in model.parameters()}
    cast = [p for p in twin.parameters() if p.dtype is torch.bfloat16]
    assert own == {p.data_ptr() for p in cast}
    assert all(p.requires_grad and p.dtype is torch.float32 for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    gone = weakref.ref(cast[0])
    del twin, cast
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("act", ["continuations", "curve_point"])
def test_an_evaluation_makes_one_copy(act: str) -> None:
    """A bf16 run decodes with the copy, made once, whatever the conditions and prompt sets."""
    domain, copied = Walks(), []

    def counted(model: Any) -> Any:
        copied.append(model)
        return decoding_copy(model)

    def evaluator(**more: Any) -> Evaluator:
        return Evaluator(
            domain=domain,
            blocker_match=3,
            probe_batch=4,
            max_batch=None,
            seed=0,
            autocast=BF16.autocast,
            report=lambda *_: None,
            **more,
        )

    def measured(one: Evaluator) -> Any:
        if act == "continuations":
            sets = one.continuations(domain.model, "hyperfitted")
            return {c: [t.tolist() for t in texts["near"]] for c, texts in sets.items()}
        return one.curve_point(domain.model, one.curve_prompts(3))

    assert measured(evaluator(decoder=counted)) == measured(evaluator())
    assert copied == [domain.model]
