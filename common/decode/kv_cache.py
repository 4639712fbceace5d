"""A key-value cache that grows in place.

The library's dynamic cache copies all its content at every step: on a CPU at batch 128 that is 40 %
of a decoding step. Its static cache does not, but gives the model masked keys of full length, with
which some architectures (ImageGPT) compute wrong scores without an error. This cache behaves like
the dynamic one, which every architecture supports, in memory that is allocated once.

Shapes: B sequences, H key-value heads, T positions allocated, L positions filled, D per head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in a buffer of `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.filled = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append (B, H, new, D) states; gives all (B, H, L, D) so far, as views."""
        # Heads, depth and dtype are known only from the first states.
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys_BHTD = _room(key_states, self.capacity)
            self.values_BHTD = _room(value_states, self.capacity)
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        assert self.filled <= self.capacity, f"{self.filled} positions, room for {self.capacity}"
        # Writes the new positions alone; the dynamic cache concatenates and so copies all L.
        self.keys_BHTD[:, :, start : self.filled] = key_states
        self.values_BHTD[:, :, start : self.filled] = value_states
        # `keys` and `values` are what the library reads. As views of the filled part they have the
        # length it expects, so no mask of unfilled positions is needed.
        self.keys = self.keys_BHTD[:, :, : self.filled]
        self.values = self.values_BHTD[:, :, : self.filled]
        return self.keys, self.values


def growing_cache(model: PreTrainedModel, capacity: int) -> Cache:
    """A cache for `capacity` positions, for models whose layers all keep keys and values.

    Sliding-window layers keep all positions too; the model masks those outside the window.
    """
    layers = model.config.get_text_config(decoder=True).num_hidden_layers
    return Cache(layers=[GrowingLayer(capacity) for _ in range(layers)])


def bytes_per_sequence(cache: Cache) -> int:
    """Bytes of one sequence in a `growing_cache` that is in use, for its whole capacity.

    A layer that shares the keys of another, or has none, occupies nothing.
    """
    total = 0
    for layer in cache.layers:
        assert isinstance(layer, GrowingLayer)
        if layer.is_initialized:
            total += layer.keys_BHTD[0].nbytes + layer.values_BHTD[0].nbytes
    return total


def _room(states_BHLD: Tensor, capacity: int) -> Tensor:
    batch, heads, _, depth = states_BHLD.shape
    return torch.empty(
        (batch, heads, capacity, depth), dtype=states_BHLD.dtype, device=states_BHLD.device
    )
