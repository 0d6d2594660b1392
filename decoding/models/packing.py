"""Linear layers whose weights are laid out for oneDNN once, not in every forward pass on the CPU.

PyTorch makes this layout only for its own compiler, under private names. So `refuse_unsupported` tries it out.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

ROWS = 8  # rows that the layout is made for: of 1, 8 and 64, 1 was slowest for any number of rows, 8 and 64 were alike
SMALL = 2**18  # smaller weights are no faster when packed: the call costs what the layout saves

AnyModel = TypeVar("AnyModel", bound=PreTrainedModel)


def pack(model: AnyModel, *, tied: bool = True, small: int = SMALL) -> AnyModel:
    """Lay out the weights of a model's linear layers for oneDNN, in place: faster decoding on the CPU, same outputs.

    Outputs agree within the rounding of the dtype. The plain weights are freed one by one, so that memory never holds
    more than one layer twice. The exception is an output layer that shares its weight with the input embedding. The
    embedding needs the plain weight, so the packed one takes additional memory (113 MB for the embedded model).

    Saving or copying a packed model gives the plain one. A packed model cannot be trained, moved, converted or loaded
    into: `unpack` it first.

    Args:
        model: a model on the CPU, in float32, or in bfloat16 or float16 if the processor has instructions for it.
        tied: whether to pack an output layer that shares its weight too.
        small: leave weights with fewer numbers than this as they are, at least 0.

    Returns:
        the model itself.

    Raises:
        ValueError: the model is packed already or has no layer to pack, or it cannot be packed because of its device,
            its dtype, quantised weights, this version of PyTorch or this processor. The model is then unchanged.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("Once upon a", return_tensors="pt")
        >>> tokenizer.decode(decoding.generate(decoding.pack(model), **inputs, max_new_tokens=2)[0])
        'Once upon a time,'
        >>> model = decoding.unpack(model)
    """
    if is_packed(model):
        raise ValueError("the model is packed already: decoding.unpack(model) first to pack it in another way")
    if getattr(model, "hf_quantizer", None) is not None or getattr(model, "is_quantized", False):
        raise ValueError("the model is quantised, so its weights have a layout of their own: load it without pack=True")
    layers = {name: layer for name, layer in model.named_modules() if can_be_packed(layer)}
    uses = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    layers = {
        name: layer
        for name, layer in layers.items()
        if layer.weight.numel() >= small and (tied or uses[id(layer.weight)] == 1)
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no linear layer of {small} or more numbers to pack")
    for layer in layers.values():
        refuse_unsupported(layer.weight.device, layer.weight.dtype)
    while layers:  # popped, so that nothing holds a layer's plain weight once it is packed
        name, layer = layers.popitem()
        model.set_submodule(name, PackedLinear(layer, shared=uses[id(layer.weight)] > 1))
    return model


def unpack(model: AnyModel) -> AnyModel:
    """Undo `pack`, in place. The plain layers have their weights back, bit for bit; a plain model is left as it is.

    Args:
        model: a model, packed or not.

    Returns:
        the model itself.

    Example:
        >>> import decoding
        >>> model, _ = decoding.load()
        >>> decoding.unpack(decoding.pack(model)).lm_head
        Linear(in_features=576, out_features=49152, bias=False)
    """
    for name in [name for name, layer in model.named_modules() if isinstance(layer, PackedLinear)]:
        layer: Any = model.get_submodule(name)
        model.set_submodule(name, layer.plain())
    return model


def is_packed(model: nn.Module) -> bool:
    """Whether any layer is packed."""
    return any(isinstance(layer, PackedLinear) for layer in model.modules())


@contextmanager
def unpacked(model: Any) -> Iterator[None]:
    """Unpack a model for the length of a `with` block, then pack the same layers again."""
    names = [name for name, layer in model.named_modules() if isinstance(layer, PackedLinear)]
    shared = {name: "weight" in dict(model.get_submodule(name).named_parameters()) for name in names}
    unpack(model)
    try:
        yield
    finally:
        for name in names:  # the block may have wrapped a layer, as adapters do
            layer = model.get_submodule(name)
            inner = f"{name}.base_layer" if hasattr(layer, "base_layer") else name
            model.set_submodule(inner, PackedLinear(model.get_submodule(inner), shared=shared[name]))


class PackedLinear(nn.Module):
    """A linear layer with its weight in oneDNN's layout: x (..., in) -> (..., out).

    Args:
        layer: the plain layer, a `torch.nn.Linear` or transformers' `Conv1D`.
        shared: whether another layer uses the same weight, which is then kept beside the packed one.
    """

    def __init__(self, layer: Any, *, shared: bool) -> None:
        super().__init__()
        self.transposed, self.trainable = isinstance(layer, Conv1D), layer.weight.requires_grad
        weight = layer.weight.detach().t() if self.transposed else layer.weight.detach()
        self.out_features, self.in_features = weight.shape
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)
        self.weight = layer.weight if shared else self.packed  # models ask for its dtype
        self.bias = layer.bias
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, without a gradient."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    def plain(self) -> nn.Module:
        """The plain layer, with its weight as it was before packing."""
        out, inner = self.out_features, self.in_features
        with torch.device("meta"):
            layer = Conv1D(out, inner) if self.transposed else nn.Linear(inner, out, bias=self.bias is not None)
        shared = isinstance(self.weight, nn.Parameter)
        layer.weight = self.weight if shared else nn.Parameter(self.dense(), requires_grad=self.trainable)
        layer.bias = self.bias
        return layer.eval()

    def dense(self) -> Tensor:
        """The weight in the plain layout and the plain layer's shape."""
        weight = self.packed.to_dense()
        return weight.t().contiguous() if self.transposed else weight

    def train(self, mode: bool = True) -> "PackedLinear":
        """Refuse training mode; a packed layer is always in evaluation mode."""
        if mode:
            raise RuntimeError("a packed model cannot be trained: decoding.unpack(model) first")
        return self

    def extra_repr(self) -> str:
        """The description of the layer in `repr(model)`, the same as for a plain layer."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def __deepcopy__(self, memo: dict) -> "PackedLinear":
        return PackedLinear(copy.deepcopy(self.plain(), memo), shared=isinstance(self.weight, nn.Parameter))

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if prefix + "weight" not in destination:
            destination[prefix + "weight"] = self.dense()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("weights cannot be loaded into a packed model: decoding.unpack(model) first")

    def _apply(self, fn: Any, recurse: bool = True) -> "PackedLinear":
        probe = torch.empty(0, dtype=self.packed.dtype)
        after = fn(probe)
        if (after.dtype, after.device) != (probe.dtype, probe.device):
            raise RuntimeError("a packed model cannot be moved or converted: decoding.unpack(model) first")
        return super()._apply(fn, recurse)


def can_be_packed(layer: nn.Module) -> bool:
    """Whether a layer is a plain linear layer, without a subclass, hooks or a replaced `forward`."""
    hooks = (*layer._forward_hooks, *layer._forward_pre_hooks, *layer._backward_hooks, *layer._backward_pre_hooks)
    return type(layer) in (nn.Linear, Conv1D) and not hooks and "forward" not in vars(layer)


def refuse_unsupported(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
    """Raise ValueError, with the reason, if weights of this device and dtype cannot be packed."""
    if torch.device(device).type != "cpu":
        raise ValueError(f"only weights on the CPU can be packed, and these are on {device}: load without pack=True")
    names = ("_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        raise ValueError(f"PyTorch {torch.__version__} has no oneDNN layout to pack into: load without pack=True")
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(
            f"weights can be packed in float32, bfloat16 and float16, not in {dtype}".replace("torch.", "")
        )
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), ROWS)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"weights in {str(dtype)[6:]} cannot be packed on this processor ({reason})") from error
