"""Multiscale network with channel self-attention (MSCA) on the feature maps of any timm backbone.

Paper: the multiscale channel-attention network with the center cosine loss of Wen, Zhou, Gan and Luo, 2024.

Reconstruction from the abstract: that the network joins deep semantic and shallow geometric features of several scales,
weighs them by a self-attention over channels that then compresses them, and is trained with a center cosine loss
(``tasks/losses.py``), is the paper's; layers, sizes and equations are ours.
"""

from typing import Any, Dict, List, Optional, Tuple, Union

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import SelectAdaptivePool2d
from timm.models import generate_default_cfgs, group_parameters, register_model
from timm.models._features import feature_take_indices

from ._backbone import PREFIX, OnBackbone, backbone_cfg, build_on_backbone, prefixed
from .cosine import CosineLinear

__all__ = ["MSCA", "ChannelAttention", "ScaleBranch"]


class ScaleBranch(nn.Module):
    """One stage of the backbone at three fields of view: 3 x 3 convolutions of dilation 1, 2 and 3, summed, then 1 x 1.

    Args:
        in_channels: Channels of the stage.
        channels: Channels of the result.
        grid: Height and width the result is averaged to, or repeated to where the stage is smaller.
    """

    def __init__(self, in_channels: int, channels: int, grid: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.convs = nn.ModuleList([
            nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False, **dd)
            for dilation in (1, 2, 3)
        ])
        self.norm = nn.BatchNorm2d(channels, **dd)
        self.act = nn.ReLU(inplace=True)
        self.proj = nn.Conv2d(channels, channels, 1, **dd)
        self.pool = nn.AdaptiveAvgPool2d(grid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A stage (B, in_channels, H, W) as (B, channels, grid, grid)."""
        total = sum([conv(x) for conv in self.convs])
        return self.pool(self.proj(self.act(self.norm(total))))


class ChannelAttention(nn.Module):
    """Self-attention of each channel to all others: ``X + gamma * softmax(tau * Q K^T) V``.

    Q, K, V are 1 x 1 convolutions of X; the rows of Q and K, one a channel, are unit vectors, so that Q K^T are cosines
    over the positions. The temperature tau is learnt and starts at 10; gamma is learnt and starts at 0, where the
    module does nothing.

    Args:
        channels: Number C of channels.
    """

    def __init__(self, channels: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False, **dd)
        self.tau = nn.Parameter(torch.full((1,), 10.0, **dd))
        self.gamma = nn.Parameter(torch.zeros(1, **dd))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to maps of the same shape."""
        q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)  # (B, C, HW)
        q, k = F.normalize(q, dim=-1, eps=1e-6), F.normalize(k, dim=-1, eps=1e-6)
        attention = (self.tau * (q @ k.transpose(1, 2))).softmax(-1)  # (B, C, C)
        return x + self.gamma * (attention @ v).view(x.shape)


class MSCA(OnBackbone):
    """The last stages of a timm backbone, each in a branch of its own; channel self-attention; compression; cosines.

    ``forward`` gives ``scale * cos`` of the angles between embedding and class centres, whose argmax is the class of
    the nearest centre; ``forward_head(pre_logits=True)`` gives the embedding. Faces are normalised as the backbone's
    config says, like those of a plain timm model.

    Args:
        backbone: Name of any timm model with ``forward_intermediates``, with or without a tag.
        num_classes: Number of expression classes; 0 gives embeddings.
        in_chans: Channels of the face.
        global_pool: Pooling of the compressed map to the embedding; none if empty.
        img_size: Input size for backbones that are built for one (vision transformers), in pixels.
        drop_rate: Dropout of the embedding.
        drop_path_rate: Stochastic depth of the backbone.
        stages: Number of the backbone's last feature maps that are used, at most.
        branch_width: Channels of each stage's branch.
        embed_dim: Length of the embedding.
        grid: Height and width that all stages are brought to.
        scale: s, the largest logit.
        backbone_kwargs: Further arguments of the backbone, JSON-serialisable.
        pretrained_backbone: Load the backbone's own (ImageNet) weights. Never saved with the model.

    Raises:
        ValueError: The backbone is unknown or has no ``forward_intermediates``.
    """

    __jit_unused_properties__ = ["feature_info", "_model_args", "head_hidden_size"]

    def __init__(
            self,
            backbone: str = "resnet18",
            num_classes: int = 7,
            in_chans: int = 3,
            global_pool: str = "avg",
            img_size: Optional[Union[int, Tuple[int, int]]] = None,
            drop_rate: float = 0.0,
            drop_path_rate: Optional[float] = None,
            stages: int = 4,
            branch_width: int = 128,
            embed_dim: int = 256,
            grid: int = 7,
            scale: float = 16.0,
            backbone_kwargs: Optional[Dict[str, Any]] = None,
            pretrained_backbone: bool = False,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        backbone_cfg(backbone)
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = embed_dim
        self.scale = scale
        self.grad_checkpointing = False

        own = dict(img_size=img_size, drop_path_rate=drop_path_rate)
        self.backbone = timm.create_model(
            backbone,
            pretrained=pretrained_backbone,
            num_classes=0,
            in_chans=in_chans,
            **dd,
            **{**own, **(backbone_kwargs or {})},
        )
        if not hasattr(self.backbone, "forward_intermediates"):
            raise ValueError(f"The timm model {backbone!r} does not give its feature maps: take another backbone.")
        used = min(stages, len(self.backbone.feature_info))
        channels = [info["num_chs"] for info in self.backbone.feature_info[-used:]]
        # Layers behind the last map would have no gradient.
        self.indices = self.backbone.prune_intermediate_layers(used, prune_norm=True)
        self.branches = nn.ModuleList([ScaleBranch(n, branch_width, grid, **dd) for n in channels])
        self.attention = ChannelAttention(used * branch_width, **dd)
        self.compress = nn.Sequential(
            nn.Conv2d(used * branch_width, embed_dim, 1, bias=False, **dd),
            nn.BatchNorm2d(embed_dim, **dd),
            nn.ReLU(inplace=True),
        )
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
        self.head_drop = nn.Dropout(drop_rate)
        self.fc = self._create_classifier(**dd)
        for module in (*self.branches.modules(), *self.compress.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head_hidden_size(self) -> int:
        return self.num_features * self.global_pool.feat_mult()

    def _create_classifier(self, device=None, dtype=None) -> nn.Module:
        if self.num_classes == 0:
            return nn.Identity()
        return CosineLinear(self.head_hidden_size, self.num_classes, self.scale, device=device, dtype=dtype)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False):
        groups = group_parameters(self.backbone, self.backbone.group_matcher(coarse=coarse), reverse=True)
        last = max(groups.values(), default=0) + 1
        return lambda name: groups[name[len(PREFIX):]] if name.startswith(PREFIX) else last

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)  # raises where the backbone cannot

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.fc

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        self.num_classes = num_classes
        if global_pool is not None:
            pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))
            self.global_pool = pool.train(self.training)
        weight = next(self.backbone.parameters())
        self.fc = self._create_classifier(device=weight.device, dtype=weight.dtype).train(self.training)

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: Optional[Union[int, List[int]]] = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = "NCHW",
            intermediates_only: bool = False,
    ) -> Union[List[torch.Tensor], Tuple[torch.Tensor, List[torch.Tensor]]]:
        """Feature maps of the backbone; the arguments are timm's."""
        how = dict(norm=norm, output_fmt=output_fmt, intermediates_only=True)
        if intermediates_only:
            return self.backbone.forward_intermediates(x, indices=indices, stop_early=stop_early, **how)
        take, _ = feature_take_indices(len(self.backbone.feature_info), indices)
        maps = self.backbone.forward_intermediates(x, **how)
        return self._join([maps[i] for i in self.indices]), [maps[i] for i in take]

    @torch.jit.ignore
    def prune_intermediate_layers(
            self,
            indices: Union[int, List[int]] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> List[int]:
        """Drop what the feature maps do without: with the head, or a map, all that stands on the maps goes too."""
        info = self.backbone.feature_info
        _, last = feature_take_indices(len(info), indices)
        if prune_head or last + 1 < len(info):
            self.branches = nn.ModuleList()
            self.attention = self.compress = nn.Identity()
            self.indices = [last]
            self.num_features = info[last]["num_chs"]
            self.reset_classifier(0, "")
        return self.backbone.prune_intermediate_layers(indices, prune_norm=prune_norm, prune_head=prune_head)

    def _join(self, maps: List[torch.Tensor]) -> torch.Tensor:
        if not self.branches:  # pruned
            return maps[-1]
        scales = torch.cat([branch(x) for branch, x in zip(self.branches, maps, strict=True)], 1)
        return self.compress(self.attention(scales))

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self._join(self.backbone.forward_intermediates(x, indices=self.indices, intermediates_only=True))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.fc(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def _create_msca(variant: str, backbone: str, pretrained: bool = False, **kwargs) -> MSCA:
    return build_on_backbone(MSCA, _cfg, variant, backbone, pretrained, **kwargs)


def _cfg(backbone: str, **kwargs) -> Dict[str, Any]:
    """Config of MSCA on a backbone: the backbone's input, a cosine classifier of seven expressions."""
    cfg = backbone_cfg(backbone)
    return dict(
        num_classes=7,
        input_size=cfg.input_size,
        min_input_size=cfg.min_input_size,
        fixed_input_size=cfg.fixed_input_size,
        pool_size=(7, 7),
        interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct,
        mean=cfg.mean,
        std=cfg.std,
        classifier="fc",
        first_conv=prefixed(cfg.first_conv),
        paper_name="Multiscale network with channel self-attention and center cosine loss, Wen et al., 2024",
        **kwargs,
    )


default_cfgs = generate_default_cfgs({
    "msca": _cfg("resnet18"),
    "msca_resnet18": _cfg("resnet18"),
    "msca_resnet18_small": _cfg("resnet18_small"),
    "msca_resnet50": _cfg("resnet50"),
    "msca_convnext_tiny": _cfg("convnext_tiny"),
    "msca_mobilenetv3_large_100": _cfg("mobilenetv3_large_100"),
})


@register_model
def msca(pretrained: bool = False, backbone: str = "resnet18", **kwargs) -> MSCA:
    """MSCA on any timm model: ``timm.create_model("msca", backbone="resnet26d")``."""
    return _create_msca("msca", backbone, pretrained=pretrained, **kwargs)


@register_model
def msca_resnet18(pretrained: bool = False, **kwargs) -> MSCA:
    """MSCA on ResNet-18."""
    return _create_msca("msca_resnet18", "resnet18", pretrained=pretrained, **kwargs)


@register_model
def msca_resnet18_small(pretrained: bool = False, **kwargs) -> MSCA:
    """MSCA on a ResNet-18 for faces of some 48 pixels."""
    return _create_msca("msca_resnet18_small", "resnet18_small", pretrained=pretrained, **kwargs)


@register_model
def msca_resnet50(pretrained: bool = False, **kwargs) -> MSCA:
    """MSCA on ResNet-50."""
    return _create_msca("msca_resnet50", "resnet50", pretrained=pretrained, **kwargs)


@register_model
def msca_convnext_tiny(pretrained: bool = False, **kwargs) -> MSCA:
    """MSCA on ConvNeXt tiny."""
    return _create_msca("msca_convnext_tiny", "convnext_tiny", pretrained=pretrained, **kwargs)


@register_model
def msca_mobilenetv3_large_100(pretrained: bool = False, **kwargs) -> MSCA:
    """MSCA on MobileNetV3 large."""
    return _create_msca("msca_mobilenetv3_large_100", "mobilenetv3_large_100", pretrained=pretrained, **kwargs)
