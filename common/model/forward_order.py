"""Find the modules that a model runs after its last block, by running it.

The final norm sets the scale of the logits: while it is frozen, the last blocks approach zero loss
slowly and with spikes. Its place among a decoder's modules does not identify it: OPT defines its
final norm before its blocks, and BLOOM has another norm there. So a forward pass over two tokens is
followed on shapes alone (fake tensors), in which every block returns its input. No weight is read,
and a model on the meta device gives the same answer.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from common.errors import UserError
from common.tools.library_errors import LIBRARY_ERRORS

# Numbers of values into which decoders may unpack the output of a block; RWKV's has 3.
BLOCK_ARITIES = (2, 3)


def parameters_above(model: Any, blocks: nn.ModuleList) -> list[nn.Parameter]:
    """Parameters used after the last block and before the output layer: those of the final norm and
    of a projection if there is one. Embeddings and the output layer are not among them.

    Args:
        model: a transformers causal LM, on any device.
        blocks: its blocks.

    Raises:
        UserError: the forward pass cannot be followed in this way.
    """
    above, failure = None, None
    for arity in BLOCK_ARITIES:
        try:
            above = _modules_above(model, blocks, arity)
            break
        except LIBRARY_ERRORS as error:
            failure = error
    if above is None:
        raise UserError(
            expected="a model whose forward pass shows what follows its last block, for "
            "train.tune head or last:K",
            got=f"{type(model).__name__}, which cannot be followed",
            fix="use train.tune all, first:K or middle:K",
        ) from failure
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    apart = {id(p) for end in ends if end is not None for p in end.parameters()}
    found = {id(p): p for module in above for p in module.parameters(recurse=False)}
    return [parameter for key, parameter in found.items() if key not in apart]


@torch.no_grad()
def _modules_above(model: Any, blocks: nn.ModuleList, arity: int) -> list[nn.Module]:
    """Modules with parameters of their own that ran after the last block, in order.

    They belong to a copy that shares the model's tensors: some modules store what they compute in a
    forward pass, and no fake tensor may remain in the model.
    """
    tensors = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    model = copy.deepcopy(model, memo).eval()
    blocks = memo[id(blocks)]
    above: list[nn.Module] = []
    inside = {id(module) for module in blocks.modules()}
    for module in model.modules():
        if id(module) not in inside and any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(lambda module, _: above.append(module))
    with FakeTensorMode(allow_non_fake_inputs=True), _HandingOn(blocks, above, arity):
        ids_BT = torch.zeros((1, 2), dtype=torch.int64, device=tensors[0].device)
        model(input_ids=ids_BT, use_cache=False)
    return above


class _HandingOn(TorchFunctionMode):
    """Makes every block return its input and clear the list of modules that ran before it.

    Some blocks return the states, others a tuple whose first entry is the states. The returned
    tensor serves as both: its entry 0 is itself, and it unpacks into itself and `arity` - 1 Nones.
    A model's decision by values (is a sequence longer than the tables?) gets False.
    """

    def __init__(self, blocks: nn.ModuleList, above: list[nn.Module], arity: int) -> None:
        super().__init__()
        self.above, self.arity = above, arity
        self.states_BTD: Tensor | None = None
        for block in blocks:
            block.forward = self._forward

    def _forward(self, *args: Any, **kwargs: Any) -> Tensor:
        self.above.clear()
        states_BTD: Tensor = args[0] if args else kwargs["hidden_states"]
        self.states_BTD = states_BTD
        return states_BTD

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.__bool__ and isinstance(args[0], FakeTensor):
            return False
        if args and args[0] is self.states_BTD:
            if func is Tensor.__getitem__ and type(args[1]) is int:
                return args[0]
            if func is Tensor.unbind:  # what unpacking calls
                return (args[0], *[None] * (self.arity - 1))
        return func(*args, **(kwargs or {}))
