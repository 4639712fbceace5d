"""Any module: eval mode for a while, and where dropout hides."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from common.hyperfit.callback import LossToZeroCallback
from common.tools.modules import active_dropout, disable_dropout, eval_mode


class Block(nn.Module):
    """Has its rates where libraries keep them: in a module, and in numbers that `forward` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.residual = nn.Dropout1d(0.1)
        self.attention_dropout, self.drop_path_rate, self.activation_drop = 0.2, 0.3, 0.4
        self.layerdrop = self.hidden_dropout = 0.0
        self.dropped_tokens, self.learning_rate = 7, 0.5


def test_eval_mode_gives_each_module_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    model[1].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyError), eval_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == modes == [True, True, False, False]


def test_every_rate_is_found_and_set_to_zero() -> None:
    block = Block()
    assert {name for _, name in active_dropout(block)} == {
        "p",
        "attention_dropout",
        "drop_path_rate",
        "activation_drop",
    }
    disable_dropout(block)
    assert active_dropout(block) == [] and block.residual.p == block.drop_path_rate == 0.0
    assert (block.dropped_tokens, block.learning_rate) == (7, 0.5)
    ones = torch.ones(4, 8)
    assert torch.equal(block.train().residual(ones), ones)


def test_the_configuration_is_named_once_and_follows() -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 8}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, attention_dropout=0.25, **small))
    owners = [owner for owner, name in active_dropout(model) if name == "attention_dropout"]
    assert [owner for owner in owners if owner is model.config] == [model.config]
    assert len(owners) == 3  # and the attention of each of the two layers
    disable_dropout(model)
    assert model.config.attention_dropout == 0.0 and not active_dropout(model)


def test_the_callback_goes_by_the_same_rule() -> None:
    block = Block()
    LossToZeroCallback()._silence_dropout(block)
    assert active_dropout(block) == []
