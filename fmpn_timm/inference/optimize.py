"""A trained model made fast: the same interface and the same outputs to a stated tolerance, for inference alone.

What each step brings, and what was tried and left out: `benchmarks/inference.md`.
"""

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from torch._inductor import config as inductor_config
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_flatten, tree_unflatten

from fmpn_timm.errors import InputError

__all__ = ["OptimizedModel", "best_precision", "optimize"]

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: What a model may be asked for; each is compiled on its own, when it is first called.
METHODS = ("forward", "motion_mask", "forward_motion", "forward_embeddings", "forward_residue", "neutral", "residue")
#: On a CPU a pass takes as many faces as have so many pixels: one of 299 x 299. Its feature maps are then small enough
#: to come from memory that is there already; for larger ones the system is asked for new pages in every layer.
PASS_PIXELS = 2**17


def optimize(
        model: nn.Module,
        precision: str = "auto",
        compile: bool = True,
        channels_last: bool = True,
        faces_per_pass: int | None = None,
) -> "OptimizedModel":
    """Make a model fast for inference; the model itself stays as it is.

    Batch norms are folded into the convolutions before them, convolutions that the CPU's library is slow at are
    computed in an equal way, memory is laid out channels-last, and the whole is compiled: on a GPU into CUDA graphs.
    In float32 logits and masks stay within 1e-4 of the model's own (on a GPU without TF32, which torch allows in
    convolutions: `torch.backends.cudnn.allow_tf32 = False`); ask for it where that matters. In bf16 and fp16
    they are rounded as in training at that precision: see `benchmarks/inference.md` for how far.

    Args:
        model: A model of this package or of timm, on the device it is to run on.
        precision: ``float32``, ``bf16``, ``fp16`` (on a GPU), or ``auto``: the fastest this machine computes with.
        compile: Compile it with inductor. Each new input shape compiles anew, up to a few minutes on a CPU; after eight
            shapes further ones run uncompiled. A C++ compiler is needed.
        channels_last: Lay out memory channels-last.
        faces_per_pass: Split larger batches into passes of so many faces; by default on a CPU as many as have some
            130,000 pixels, on a GPU all.

    Returns:
        A module with the model's ``forward``, ``motion_mask``, ``forward_motion`` and so on. Faces of any float type go
        in, float32 comes out; gradients are never recorded.

    Raises:
        InputError: Unknown precision, or one that the device does not compute with.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if precision == "auto":
        precision = best_precision(device)
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}: choose auto, {', '.join(PRECISIONS)}.")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision fp16 needs a GPU: on a CPU choose bf16 or float32.")
    if faces_per_pass is not None and faces_per_pass < 1:
        raise InputError(f"faces_per_pass must be at least 1, got {faces_per_pass}.")
    model = copy.deepcopy(model).eval().requires_grad_(False).float()
    fold_batch_norms(model)
    if device.type == "cpu":
        _join_channels(model)
        _replace_convolutions(model, winograd=precision == "float32")
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return OptimizedModel(model, PRECISIONS[precision], compile, channels_last, faces_per_pass)


def best_precision(device: str | torch.device = "cpu") -> str:
    """The fastest precision that runs natively: fp16 on CUDA, bf16 on CPUs with AMX or AVX512-bf16, else float32."""
    if torch.device(device).type == "cuda":
        return "fp16"
    fast = torch.device(device).type == "cpu" and (
        torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    )
    return "bf16" if fast else "float32"


class OptimizedModel(nn.Module):
    """What ``optimize`` returns: runs a prepared model; any other attribute is the model's own.

    Args:
        model: The model, in evaluation mode, float32.
        dtype: What convolutions and matrix products are computed in.
        compile: Compile each method on its first call.
        channels_last: Hand faces on channels-last.
        faces_per_pass: Faces of a pass; by the size of the faces if None.
    """

    def __init__(
            self,
            model: nn.Module,
            dtype: torch.dtype,
            compile: bool,
            channels_last: bool,
            faces_per_pass: int | None,
    ):
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.compile_methods = compile
        self.channels_last = channels_last
        self.faces_per_pass = faces_per_pass
        self._compiled: dict[str, Callable] = {}

    def __getattr__(self, name: str) -> Any:
        if name in METHODS and hasattr(self.model, name):
            return partial(self._run, name)
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}

    def train(self, mode: bool = True) -> "OptimizedModel":
        """Stays in evaluation mode: there is no batch norm left to train with."""
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes), float32, of faces (B, C, H, W) as the model takes them."""
        return self._run("forward", x)

    @torch.inference_mode()
    def _run(self, name: str, x: torch.Tensor) -> Any:
        x = x.float()
        number = self.faces_per_pass
        if number is None:
            number = max(PASS_PIXELS // x.shape[-2:].numel(), 1) if x.device.type == "cpu" else len(x)
        if len(x) <= number:
            return self._pass(name, x)
        trees = [tree_flatten(self._pass(name, part)) for part in x.split(number)]
        joined = [torch.cat(parts) for parts in zip(*(leaves for leaves, _ in trees), strict=True)]
        return tree_unflatten(joined, trees[0][1])

    def _pass(self, name: str, x: torch.Tensor) -> Any:
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        low = self.dtype is not torch.float32
        # Autocast, not weights in bf16: what must not be rounded, such as the fused face, says so itself. Freezing
        # makes weights constants, which inductor then lays out once; as an option of torch.compile it comes too late.
        with (
            torch.autocast(x.device.type, self.dtype, enabled=low, cache_enabled=False),
            inductor_config.patch(freezing=self.compile_methods),
        ):
            output = self._method(name, x.device)(x)
        leaves, tree = tree_flatten(output)
        on_gpu = x.device.type == "cuda"  # the next pass of a CUDA graph writes where this one wrote
        return tree_unflatten([leaf.to(torch.float32, copy=on_gpu) for leaf in leaves], tree)

    def _method(self, name: str, device: torch.device) -> Callable:
        method = getattr(self.model, name)
        if not self.compile_methods:
            return method
        if name not in self._compiled:
            mode = "reduce-overhead" if device.type == "cuda" else "default"  # CUDA graphs
            # for each batch size anew: for any size at once inductor mistakes the strides of a fused convolution
            self._compiled[name] = torch.compile(method, mode=mode, dynamic=False)
        return self._compiled[name]


def fold_batch_norms(model: nn.Module) -> int:
    """Fold batch norms into the convolutions before them, in place; the model must be in evaluation mode.

    Folded is what torch.fx sees to be a batch norm, with or without an activation of timm's in it, of a convolution's
    output that nothing else reads. What torch.fx cannot trace is looked at part by part.

    Returns:
        How many were folded.
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    folded = 0
    for prefix, conv_name, norm_name in list(_find_pairs(model)):
        conv, norm = (model.get_submodule(f"{prefix}{name}") for name in (conv_name, norm_name))
        if uses[id(conv)] > 1 or uses[id(norm)] > 1:
            continue
        fused = fuse_conv_bn_eval(conv, norm, isinstance(conv, nn.ConvTranspose2d))
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        model.set_submodule(f"{prefix}{conv_name}", fused)
        model.set_submodule(f"{prefix}{norm_name}", rest.eval())
        folded += 1
    return folded


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (Conv2dSame, nn.BatchNorm2d)) or super().is_leaf_module(module, name)


def _find_pairs(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Prefix of the part that was traced, name in it of a convolution, of the batch norm that alone reads it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what timm's layers do with shapes
            nodes = _Tracer().trace(module).nodes
    except Exception:  # a control flow that depends on values raises all kinds
        for name, child in module.named_children():
            yield from _find_pairs(child, f"{prefix}{name}.")
        return
    modules = dict(module.named_modules())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for norm in nodes:
        if norm.op != "call_module" or not norm.args or not isinstance(norm.args[0], torch.fx.Node):
            continue
        conv = norm.args[0]
        if conv.op != "call_module" or len(conv.users) != 1 or calls[conv.target] != 1 or calls[norm.target] != 1:
            continue
        if _foldable(modules[conv.target], modules[norm.target]):
            yield prefix, conv.target, norm.target


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    # Exact types: a subclass may do something else with its weights, such as standardise them.
    if type(norm) not in (nn.BatchNorm2d, BatchNormAct2d) or norm.running_mean is None:
        return False
    return type(conv) in (nn.Conv2d, Conv2dSame) or (type(conv) is nn.ConvTranspose2d and conv.groups == 1)


def _join_channels(model: nn.Module) -> None:
    """Make a normalisation that is the same for all channels one number.

    Compiled, the sigmoid before it is then one loop over the whole fused face, which fills vectors; with a number for
    each channel it is one over three.
    """
    for name in ("backbone_mean", "backbone_std"):
        values = getattr(model, name, None)
        if values is not None and torch.equal(values, values[:, :1].expand_as(values)):
            setattr(model, name, values[:, :1].clone())


def _replace_convolutions(model: nn.Module, winograd: bool) -> None:
    """Put equal computations where oneDNN is slow: large kernels to few channels, and wide 3 x 3 ones in float32."""
    for name, conv in list(model.named_modules()):
        if not name or type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            continue
        if conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.groups != 1:
            continue
        if conv.out_channels == 1 and min(conv.kernel_size) >= 5 and conv.in_channels >= 16:
            model.set_submodule(name, SplitConv2d(conv))
        elif winograd and conv.kernel_size == (3, 3) and min(conv.in_channels, conv.out_channels) >= 128:
            model.set_submodule(name, WinogradConv2d(conv))


class SplitConv2d(nn.Module):
    """A convolution to one channel: a map for each column of the kernel, then the sum of the maps, each shifted.

    A convolution to one channel leaves most of a vector register empty; this one fills it with the kernel's columns.

    Args:
        conv: The convolution, stride 1.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        height, self.width = conv.kernel_size
        self.columns = nn.Conv2d(conv.in_channels, self.width, (height, 1), padding=(conv.padding[0], 0), bias=False)
        self.columns.weight = nn.Parameter(conv.weight[0].permute(2, 0, 1)[..., None].contiguous(), False)
        self.bias = conv.bias
        self.padding = conv.padding[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to one channel (B, 1, H', W'), float32."""
        maps = F.pad(self.columns(x).float(), (self.padding, self.padding))  # (B, width, H', W + 2 padding)
        width = maps.shape[-1] - self.width + 1
        total = sum(maps[:, k:k + 1, :, k:k + width] for k in range(self.width))
        return total if self.bias is None else total + self.bias[:, None, None]


class WinogradConv2d(nn.Module):
    """A 3 x 3 convolution by Winograd's minimal filtering F(4 x 4, 3 x 3), with a quarter of the multiplications.

    Paper: `Fast Algorithms for Convolutional Neural Networks` - https://arxiv.org/abs/1509.09308. The transforms are
    products with their Kronecker squares, one for all tiles. Rounding errors are some ten times those of the sum.

    Args:
        conv: The convolution, stride 1.
    """

    TILE, KERNEL = 4, 3
    POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)  # and infinity
    #: On smaller maps there are too few tiles to pay for the transforms.
    MIN_PIXELS = 1024

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv
        output, kernel, faces = (matrix.to(conv.weight.device) for matrix in self._transforms())
        weight = torch.einsum("ki,ocij,lj->klco", kernel, conv.weight.double(), kernel).flatten(0, 1)
        for name, matrix in dict(
                weight=weight,  # (36, C, O)
                from_faces=torch.kron(faces, faces),  # (36, 36)
                to_output=torch.kron(output, output),  # (16, 36)
        ).items():
            self.register_buffer(name, matrix.to(conv.weight.dtype).contiguous(), persistent=False)

    @classmethod
    def _transforms(cls) -> tuple[torch.Tensor, ...]:
        """The matrices of Cook and Toom for outputs (4, 6), kernels (6, 3) and inputs (6, 6), float64."""
        points = torch.tensor(cls.POINTS, dtype=torch.float64)
        size = cls.TILE + cls.KERNEL - 1

        def powers(columns: int) -> torch.Tensor:
            infinity = F.one_hot(torch.tensor([columns - 1]), columns).double()
            return torch.cat([points[:, None] ** torch.arange(columns), infinity])

        distance = points[:, None] - points + torch.eye(size - 1)
        scale = torch.cat([distance.prod(1), torch.ones(1)])[:, None]  # keeps the entries of the matrices small
        return powers(cls.TILE).T, powers(cls.KERNEL) / scale, torch.linalg.inv(powers(size)).T * scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to maps (B, O, H', W')."""
        if x.shape[-2] * x.shape[-1] < self.MIN_PIXELS:
            return self.conv(x)
        tile, size = self.TILE, self.TILE + self.KERNEL - 1
        number, channels, height, width = x.shape
        above, left = self.conv.padding
        height, width = height + 2 * above - self.KERNEL + 1, width + 2 * left - self.KERNEL + 1
        rows, columns = -(-height // tile), -(-width // tile)
        below, right = (n * tile + self.KERNEL - 1 - s - p for n, s, p in (
            (rows, x.shape[-2], above), (columns, x.shape[-1], left)))
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, above, below))
        x = x.unfold(1, size, tile).unfold(2, size, tile)  # (B, rows, columns, C, 6, 6)
        x = x.permute(4, 5, 0, 1, 2, 3).reshape(size**2, -1)
        x = (self.from_faces @ x).view(size**2, -1, channels)
        x = torch.bmm(x, self.weight)  # (36, B rows columns, O)
        x = (self.to_output @ x.flatten(1)).view(tile, tile, number, rows, columns, -1)
        x = x.permute(2, 3, 0, 4, 1, 5).reshape(number, rows * tile, columns * tile, -1)
        x = x[:, :height, :width].permute(0, 3, 1, 2)
        return x if self.conv.bias is None else x + self.conv.bias[:, None, None]
