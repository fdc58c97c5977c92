"""FaceNet2ExpNet (FN2EN): a small expression network that first learns to see faces as a face network does.

Paper: `FaceNet2ExpNet: Regularizing a Deep Face Recognition Net for Expression Recognition` (Ding, Zhou, Chellappa,
FG 2017) - https://arxiv.org/abs/1609.06591

Reimplementation: six convolutions and two fully connected layers; layer widths are as recalled from the paper (10.6 M
parameters with 7 classes, "8 layers, 11 M" published). The stages of training are in ``tasks/fn2en.py``.
"""

from collections import OrderedDict
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
from timm.models import build_model_with_cfg, checkpoint_seq, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices

from ._features import feature_cfg
from ._published import create_published, wants_published

__all__ = ["FN2EN"]

WIDTHS = (64, 128, 256, 512, 512)
GRID = 7  # height and width of the map that the first fully connected layer is made for: 224 pixels, halved five times


class FN2EN(nn.Module):
    """Five 3 x 3 convolutions, each pooled, a 1 x 1 convolution, two fully connected layers.

    The fully connected layer takes a map of 7 x 7. That is what a face of 224 pixels gives, as published; from any
    other size it is averaged, or repeated where it is smaller, so that the same weights do for all sizes. A face of 48
    pixels is pooled to a single position, though: ``pools=3`` keeps 6 x 6 of them, of which ``grid=6`` repeats none.

    Args:
        num_classes: Number of expression classes; 0 gives embeddings.
        in_chans: Channels of the face.
        drop_rate: Dropout before the classifier.
        pools: Number of poolings; behind the first so many convolutions (5 in the paper).
        hidden_size: Length of the embedding.
        grid: Height and width of the map that the first fully connected layer takes (7 in the paper).

    Raises:
        ValueError: ``pools`` is not from 1 to 5, or ``grid`` is below 1.
    """

    def __init__(
            self,
            num_classes: int = 7,
            in_chans: int = 3,
            drop_rate: float = 0.5,
            pools: int = 5,
            hidden_size: int = 256,
            grid: int = GRID,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if not 1 <= pools <= len(WIDTHS):
            raise ValueError(f"pools must be from 1 to {len(WIDTHS)}, got {pools}.")
        if grid < 1:
            raise ValueError(f"grid must be at least 1, got {grid}.")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = WIDTHS[-1]
        self.head_hidden_size = hidden_size
        self.grad_checkpointing = False

        blocks, self.feature_info, reduction = [], [], 1
        for n, width in enumerate((*WIDTHS, WIDTHS[-1])):
            pooled = n < pools
            kernel_size = 3 if n < len(WIDTHS) else 1
            before = WIDTHS[n - 1] if n else in_chans
            blocks.append(nn.Sequential(OrderedDict(
                conv=nn.Conv2d(before, width, kernel_size, padding=kernel_size // 2, **dd),
                act=nn.ReLU(inplace=True),
                pool=nn.MaxPool2d(3, stride=2, ceil_mode=True) if pooled else nn.Identity(),
            )))
            reduction *= 2 if pooled else 1
            self.feature_info.append(dict(num_chs=width, reduction=reduction, module=f"trunk.{n}"))
        self.trunk = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.hidden = nn.Linear(self.num_features * grid**2, hidden_size, **dd)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(hidden_size, num_classes, **dd) if num_classes else nn.Identity()
        self.apply(init_weights)

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Dict[str, Any]:
        return dict(stem=r"^trunk\.0", blocks=[(r"^trunk\.(\d+)", None), (r"^hidden", (1000,)), (r"^fc", (1001,))])

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.fc

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Another number of classes; the map is never pooled to one position, so ``global_pool`` must be None.

        Raises:
            ValueError: A pooling is asked for.
        """
        if global_pool is not None:
            raise ValueError("FN2EN's fully connected layer takes the whole map: there is no global_pool to choose.")
        self.num_classes = num_classes
        weight = self.hidden.weight
        dd = dict(device=weight.device, dtype=weight.dtype)
        self.fc = nn.Linear(self.head_hidden_size, num_classes, **dd) if num_classes else nn.Identity()
        self.fc.apply(init_weights).train(self.training)

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: Optional[Union[int, List[int]]] = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = "NCHW",
            intermediates_only: bool = False,
    ) -> Union[List[torch.Tensor], Tuple[torch.Tensor, List[torch.Tensor]]]:
        """Maps of the six convolutions; the arguments are timm's."""
        torch._assert(output_fmt == "NCHW", "FN2EN's maps are NCHW")
        take, last = feature_take_indices(len(self.trunk), indices)
        maps = []
        for n, block in enumerate(self.trunk[: last + 1] if stop_early else self.trunk):
            x = checkpoint_seq(block, x) if self.grad_checkpointing else block(x)
            if n in take:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    @torch.jit.ignore
    def prune_intermediate_layers(
            self,
            indices: Union[int, List[int]] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> List[int]:
        """Drop the layers behind the given maps, and the fully connected ones."""
        take, last = feature_take_indices(len(self.trunk), indices)
        self.trunk = self.trunk[: last + 1]
        self.feature_info = self.feature_info[: last + 1]
        self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or last + 1 <= len(WIDTHS):
            self.pool = self.hidden = self.act = self.fc = nn.Identity()
            self.num_classes, self.head_hidden_size = 0, self.num_features
        return take

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.trunk, x)
        return self.trunk(x)  # (B, 512, 7, 7) from 224 pixels

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.drop(self.act(self.hidden(self.pool(x).flatten(1))))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def init_weights(module: nn.Module) -> None:
    """He's initialisation, without which a net of ReLUs and no normalisation does not start to learn."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


def _create_fn2en(variant: str, pretrained: bool = False, **kwargs) -> FN2EN:
    if wants_published(pretrained, kwargs):
        return create_published(variant, **kwargs)
    return build_model_with_cfg(FN2EN, variant, pretrained, feature_cfg=feature_cfg(kwargs), **kwargs)


def _cfg(**kwargs) -> Dict[str, Any]:
    return dict(
        num_classes=7,
        input_size=(3, 224, 224),
        pool_size=(GRID, GRID),
        crop_pct=0.875,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        first_conv="trunk.0.conv",
        classifier="fc",
        paper_ids="arXiv:1609.06591",
        paper_name="FaceNet2ExpNet: Regularizing a Deep Face Recognition Net for Expression Recognition",
        **kwargs,
    )


default_cfgs = generate_default_cfgs({"fn2en": _cfg()})


@register_model
def fn2en(pretrained: bool = False, **kwargs) -> FN2EN:
    """FaceNet2ExpNet: 10.6 M parameters."""
    return _create_fn2en("fn2en", pretrained=pretrained, **kwargs)
