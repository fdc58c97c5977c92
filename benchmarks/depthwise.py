"""Why the lite generator's depthwise convolutions are trained in float32 on a CPU: time of forward and backward pass.

    OMP_NUM_THREADS=1 python -m benchmarks.depthwise --json benchmarks/depthwise.json

The 5 x 5 convolutions of faces of 48 pixels (batch of 64) and of 299 (batch of 8) on bf16 maps, in bf16 and in float32
with the conversion, channels-last and not; and a step of `fmpn_lite_resnet18_small` as it is trained beside its
backbone's (48 pixels, batch of 64, layers 2, 2, 2, 1, without the optimiser). Timed as `benchmarks/measure.py` says.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from torch import nn

import fmpn_timm  # noqa: F401 registers the models
from benchmarks.measure import interleaved, summary, write_json

MAPS = ((64, 24, 24, 1), (64, 24, 24, 2), (64, 48, 12, 1), (64, 48, 12, 2), (64, 96, 6, 1),
        (8, 24, 75, 1), (8, 24, 75, 2), (8, 48, 38, 1), (8, 96, 19, 1))  # batch, channels, side, stride
LAYERS = (2, 2, 2, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/depthwise.json")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    convolutions = {}
    for maps in MAPS:
        variants = {f"{kind}{name}": convolution(*maps, dtype, layout)
                    for kind, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32))
                    for name, layout in (("", torch.channels_last), (", NCHW", torch.contiguous_format))}
        batch, channels, side, stride = maps
        convolutions[f"{batch} x {channels} x {side} x {side}, {stride}"] = summary(
            interleaved(variants, options.rounds), "bf16")
    networks = {"bare backbone": network("resnet18_small", layers=LAYERS),
                "with the lite generator": network("fmpn_lite_resnet18_small", backbone_kwargs={"layers": LAYERS})}
    steps = summary(interleaved(networks, options.rounds), "bare backbone", 64)
    write_json(options.json, {"convolutions": convolutions, "steps": steps})


def convolution(
        batch: int, channels: int, side: int, stride: int, dtype: torch.dtype, layout: torch.memory_format,
) -> Callable[[], None]:
    layer = nn.Conv2d(channels, channels, 5, stride, 2, groups=channels, bias=False).to(memory_format=layout)
    maps = torch.rand(batch, channels, side, side, dtype=torch.bfloat16).contiguous(memory_format=layout)
    maps.requires_grad_()

    def step() -> None:
        answer = nn.functional.conv2d(maps.to(dtype), layer.weight.to(dtype), None, stride, 2, 1, channels)
        answer.backward(torch.ones_like(answer))

    return step


def network(name: str, **kwargs) -> Callable[[], None]:
    model = timm.create_model(name, num_classes=8, **kwargs).to(memory_format=torch.channels_last).train()
    faces = torch.rand(64, 3, 48, 48).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(faces), torch.arange(64) % 8)
        loss.backward()

    return step


if __name__ == "__main__":
    main()
