"""Facial Motion Prior Networks (FMPN): a mask generator and a fusion net in front of any timm backbone.

Paper: `Facial Motion Prior Networks for Facial Expression Recognition` (Chen, Wang, Chen, Shi, Cai, VCIP 2019) -
https://arxiv.org/abs/1902.08788

Reimplementation. Faces are RGB (or grey with ``in_chans=1``) in [0, 1], not normalised: the fused face is normalised
for the backbone inside the model.
"""

import logging
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import timm
import torch
import torch.nn as nn
from timm.models import checkpoint, generate_default_cfgs, group_parameters, register_model

from ._backbone import PREFIX, OnBackbone, backbone_cfg, build_on_backbone, prefixed
from .basis_generator import BasisMaskGenerator
from .cosine import CosineLinear
from .fusion import PriorFusion
from .grey import to_grey
from .lite_generator import LiteMaskGenerator, stride_for
from .mask_generator import MaskGenerator

__all__ = ["FMPN", "FMPNOutput", "create_fmpn", "fmpn_cfg"]

_logger = logging.getLogger(__name__)

#: Mask generators by name, with their default widths and numbers of blocks.
GENERATORS = {"paper": (MaskGenerator, 64, 4), "lite": (LiteMaskGenerator, 24, 3), "basis": (BasisMaskGenerator, 24, 3)}


class FMPNOutput(NamedTuple):
    """All that one pass of FMPN computes."""

    logits: torch.Tensor  # (B, num_classes)
    motion_mask: torch.Tensor  # (B, 1, H, W) in [0, 1]
    fused_face: torch.Tensor  # (B, 3, H, W) in [0, 1], before the backbone's normalisation


class FMPN(OnBackbone):
    """Facial Motion Prior Network.

    ``forward`` gives logits, ``motion_mask`` the mask alone, ``forward_motion`` logits, mask and fused face in one
    pass. The rest is the contract of timm's models, delegated to the backbone.

    Args:
        backbone: Name of any timm model, with or without a tag.
        num_classes: Number of expression classes; 0 gives pooled features.
        in_chans: 3 for RGB faces, 1 for grey faces.
        global_pool: Pooling of the backbone, its own default if None.
        img_size: Input size for backbones that are built for one (vision transformers), in pixels.
        drop_rate: Classifier dropout of the backbone.
        drop_path_rate: Stochastic depth of the backbone.
        generator: The mask generator: ``paper``, or one of ours that cost next to nothing, ``lite`` and ``basis``.
        generator_width: Channels of the mask generator at its full resolution, its own default (paper: 64) if None.
        generator_blocks: Residual blocks of the mask generator, its own default (paper: 4) if None.
        generator_kwargs: Further arguments of the mask generator, JSON-serialisable, such as ``stride`` of ``lite`` (by
            default ``stride_for`` the faces that the backbone is made for) and ``masks`` of ``basis``, the number of
            prior masks that it mixes (by default one of each class).
        fusion_init: How the fusion net starts, ``paper`` or ``face``, see ``PriorFusion``.
        backbone_mean: Channel means the backbone expects, its own config's if None.
        backbone_std: Channel standard deviations the backbone expects, its own config's if None.
        backbone_kwargs: Further arguments of the backbone, JSON-serialisable; its drop rates may be among them.
        pretrained_backbone: Load the backbone's own (ImageNet) weights. Never saved with the model.
        cosine_head: Classify by the angles between embedding and class centres, see ``CosineLinear``, in place of the
            backbone's linear layer.

    Raises:
        ValueError: The backbone or the generator is unknown, ``in_chans`` is neither 1 nor 3, or a cosine head cannot
            take the place of the backbone's classifier.
    """

    __jit_unused_properties__ = ["num_features", "head_hidden_size", "num_classes", "feature_info", "_model_args"]

    def __init__(
            self,
            backbone: str = "inception_v3",
            num_classes: int = 7,
            in_chans: int = 3,
            global_pool: Optional[str] = None,
            img_size: Optional[Union[int, Tuple[int, int]]] = None,
            drop_rate: Optional[float] = None,
            drop_path_rate: Optional[float] = None,
            generator: str = "paper",
            generator_width: Optional[int] = None,
            generator_blocks: Optional[int] = None,
            generator_kwargs: Optional[Dict[str, Any]] = None,
            fusion_init: str = "paper",
            backbone_mean: Optional[Sequence[float]] = None,
            backbone_std: Optional[Sequence[float]] = None,
            backbone_kwargs: Optional[Dict[str, Any]] = None,
            pretrained_backbone: bool = False,
            cosine_head: bool = False,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if in_chans not in (1, 3):
            raise ValueError(f"FMPN takes RGB faces (in_chans=3) or grey faces (in_chans=1), not in_chans={in_chans}.")
        if generator not in GENERATORS:
            raise ValueError(f"Unknown generator {generator!r}: choose one of {', '.join(GENERATORS)}.")
        cfg = backbone_cfg(backbone)
        self.in_chans = in_chans
        self.global_pool = global_pool
        self.grad_checkpointing = False

        generator_cls, width, blocks = GENERATORS[generator]
        width = width if generator_width is None else generator_width
        blocks = blocks if generator_blocks is None else generator_blocks
        kwargs = {**_generator_defaults(generator, cfg, num_classes), **(generator_kwargs or {})}
        self.generator_args = dict(
            generator=generator, generator_width=width, generator_blocks=blocks, generator_kwargs=kwargs
        )
        self.mask_generator = generator_cls(width, blocks, **kwargs, **dd)
        self.fusion = PriorFusion(in_chans, fusion_init, **dd)
        own = dict(global_pool=global_pool, img_size=img_size, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
        self.backbone = timm.create_model(
            backbone,
            pretrained=pretrained_backbone,
            num_classes=num_classes,
            **dd,
            **{**own, **(backbone_kwargs or {})},
        )
        self.cosine_head = cosine_head
        self._settle_head()
        # Some backbones have features in another layout (Swin: NHWC); timm's tools ask the model itself.
        self.output_fmt = getattr(self.backbone, "output_fmt", "NCHW")
        self.backbone_norm = (tuple(backbone_mean or cfg.mean), tuple(backbone_std or cfg.std))
        self.register_buffer("backbone_mean", torch.empty(1, 3, 1, 1, **dd), persistent=False)
        self.register_buffer("backbone_std", torch.empty(1, 3, 1, 1, **dd), persistent=False)
        self.init_non_persistent_buffers()

    @torch.jit.ignore
    def init_non_persistent_buffers(self) -> None:
        """Fill the buffers that a checkpoint does not hold (after construction on the meta device and ``to_empty``)."""
        for buffer, values in zip((self.backbone_mean, self.backbone_std), self.backbone_norm, strict=True):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))

    def _saved_args(self, args: Dict[str, Any]) -> Dict[str, Any]:
        # The generator and normalisation are saved, so that no later default can change a saved model.
        mean, std = self.backbone_norm
        return super()._saved_args(dict(args, **self.generator_args, backbone_mean=mean, backbone_std=std))

    @property
    def num_classes(self) -> int:
        return self.backbone.num_classes

    @property
    def num_features(self) -> int:
        return self.backbone.num_features

    @property
    def head_hidden_size(self) -> int:
        return self.backbone.head_hidden_size

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False):
        groups = group_parameters(self.backbone, self.backbone.group_matcher(coarse=coarse), reverse=True)
        return lambda name: groups[name[len(PREFIX):]] + 1 if name.startswith(PREFIX) else 0

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute mask and fused face, and the backbone where it can, anew for the backward pass, to save memory.

        Logits and gradients stay as they are; the running statistics of batch norm move twice in each step.
        """
        self.grad_checkpointing = enable
        self.mask_generator.grad_checkpointing = enable
        try:
            self.backbone.set_grad_checkpointing(enable)
        except AssertionError:  # timm's way to say that a model cannot
            _logger.warning(f"{type(self.backbone).__name__} has no gradient checkpointing: mask and fused face alone "
                            "are computed anew.")

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.backbone.get_classifier()

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        if global_pool is not None:
            self.global_pool = global_pool
        self.backbone.reset_classifier(num_classes, global_pool)
        self._settle_head()

    def _settle_head(self) -> None:
        """Put the cosine head, if that is asked for, where the backbone has its classifier."""
        head = self.backbone.get_classifier()
        if not self.cosine_head or isinstance(head, nn.Identity):
            return
        if not isinstance(head, nn.Linear):
            raise ValueError(f"cosine_head takes the place of one linear layer; this backbone has {head}.")
        name = next(name for name, module in self.backbone.named_modules() if module is head)
        dd = dict(device=head.weight.device, dtype=head.weight.dtype)
        cosine = CosineLinear(head.in_features, head.out_features, **dd).train(head.training)
        self.backbone.set_submodule(name, cosine)

    def _fuse(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        grey = to_grey(x, self.in_chans)  # (B, 1, H, W)
        mask = self.mask_generator(grey)  # (B, 1, H, W)
        masked = grey * mask  # eq. (3)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return mask, checkpoint(self.fusion, x, masked)
        return mask, self.fusion(x, masked)

    def _normalize(self, fused: torch.Tensor) -> torch.Tensor:
        return (fused - self.backbone_mean) / self.backbone_std

    def motion_mask(self, x: torch.Tensor) -> torch.Tensor:
        """Where the face moved.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].

        Returns:
            Motion masks (B, 1, H, W) in [0, 1].
        """
        return self.mask_generator(to_grey(x, self.in_chans))

    def forward_motion(self, x: torch.Tensor) -> FMPNOutput:
        """Logits, motion mask and fused face in one pass.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].
        """
        mask, fused = self._fuse(x)
        return FMPNOutput(self.backbone(self._normalize(fused)), mask, fused)

    def forward_embeddings(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (B, head_hidden_size), what the classifier is given, and motion masks (B, 1, H, W) in one pass.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].
        """
        mask, fused = self._fuse(x)
        features = self.backbone.forward_features(self._normalize(fused))
        return self.backbone.forward_head(features, pre_logits=True), mask

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: Optional[Union[int, List[int]]] = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = "NCHW",
            intermediates_only: bool = False,
    ) -> Union[List[torch.Tensor], Tuple[torch.Tensor, List[torch.Tensor]]]:
        """Feature maps of the backbone on the fused face; the arguments are the backbone's."""
        return self.backbone.forward_intermediates(
            self._normalize(self._fuse(x)[1]),
            indices=indices,
            norm=norm,
            stop_early=stop_early,
            output_fmt=output_fmt,
            intermediates_only=intermediates_only,
        )

    @torch.jit.ignore
    def prune_intermediate_layers(
            self,
            indices: Union[int, List[int]] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> List[int]:
        return self.backbone.prune_intermediate_layers(indices, prune_norm=prune_norm, prune_head=prune_head)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone.forward_features(self._normalize(self._fuse(x)[1]))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return self.backbone.forward_head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(self._normalize(self._fuse(x)[1]))


def _generator_defaults(generator: str, cfg: Any, num_classes: int) -> Dict[str, Any]:
    """What a mask generator of ours is told unless the caller says otherwise: it follows from backbone and classes."""
    if generator == "paper":
        return {}
    stride = stride_for(cfg.input_size[-1])
    return dict(stride=stride, masks=num_classes) if generator == "basis" and num_classes else dict(stride=stride)


def create_fmpn(variant: str, backbone: str, pretrained: bool = False, **kwargs) -> FMPN:
    """Build FMPN by a name of its own in front of a backbone, as the entry points do.

    Args:
        variant: Name of the architecture.
        backbone: Name of the timm model behind the fusion net.
        pretrained: Whether to load the weights that are declared for the name.
        kwargs: Further arguments of ``FMPN``, and ``timm.create_model``'s.
    """
    return build_on_backbone(FMPN, fmpn_cfg, variant, backbone, pretrained, **kwargs)


def fmpn_cfg(backbone: str, **kwargs) -> Dict[str, Any]:
    """timm's config of FMPN in front of a backbone: its sizes and head, faces in [0, 1]."""
    cfg = backbone_cfg(backbone)
    return dict(
        num_classes=7,
        input_size=cfg.input_size,
        min_input_size=cfg.min_input_size,
        fixed_input_size=cfg.fixed_input_size,
        pool_size=cfg.pool_size,
        interpolation=cfg.interpolation,
        crop_pct=299 / 320,  # the paper's crops of 299 from 320 pixels
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        classifier=prefixed(cfg.classifier),
        first_conv="fusion.face.0",  # the one convolution that sees the input's channels; the generator sees grey
        paper_ids="arXiv:1902.08788",
        paper_name="Facial Motion Prior Networks for Facial Expression Recognition",
        origin_url="https://github.com/donydchen/FMPN-FER",
        **kwargs,
    )


# Trained weights are declared by a line: "<arch>.<tag>": fmpn_cfg("<backbone>", hf_hub_id="<owner>/<arch>.<tag>").
default_cfgs = generate_default_cfgs({
    "fmpn": fmpn_cfg("inception_v3"),
    "fmpn_inception_v3.ferplus": fmpn_cfg("inception_v3", hf_hub_id="fmpn-timm/fmpn_inception_v3.ferplus"),
    "fmpn_resnet18_small": fmpn_cfg("resnet18_small"),
    "fmpn_resnet18": fmpn_cfg("resnet18"),
    "fmpn_resnet50": fmpn_cfg("resnet50"),
    "fmpn_resnet152": fmpn_cfg("resnet152"),
    "fmpn_vgg16_bn": fmpn_cfg("vgg16_bn"),
    "fmpn_densenet121": fmpn_cfg("densenet121"),
    "fmpn_mobilenetv3_small_100": fmpn_cfg("mobilenetv3_small_100"),
    "fmpn_mobilenetv3_large_100": fmpn_cfg("mobilenetv3_large_100"),
    "fmpn_efficientnet_b0": fmpn_cfg("efficientnet_b0"),
    "fmpn_convnext_tiny": fmpn_cfg("convnext_tiny"),
    "fmpn_vit_small_patch16_224": fmpn_cfg("vit_small_patch16_224"),
    "fmpn_swin_tiny_patch4_window7_224": fmpn_cfg("swin_tiny_patch4_window7_224"),
})


@register_model
def fmpn(pretrained: bool = False, backbone: str = "inception_v3", **kwargs) -> FMPN:
    """FMPN in front of any timm model: ``timm.create_model("fmpn", backbone="resnet26d")``."""
    return create_fmpn("fmpn", backbone, pretrained=pretrained, **kwargs)


@register_model
def fmpn_inception_v3(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with Inception v3, the paper's network."""
    return create_fmpn("fmpn_inception_v3", "inception_v3", pretrained=pretrained, **kwargs)


@register_model
def fmpn_resnet18_small(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with a ResNet-18 for faces of some 48 pixels."""
    return create_fmpn("fmpn_resnet18_small", "resnet18_small", pretrained=pretrained, **kwargs)


@register_model
def fmpn_resnet18(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with ResNet-18."""
    return create_fmpn("fmpn_resnet18", "resnet18", pretrained=pretrained, **kwargs)


@register_model
def fmpn_resnet50(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with ResNet-50."""
    return create_fmpn("fmpn_resnet50", "resnet50", pretrained=pretrained, **kwargs)


@register_model
def fmpn_resnet152(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with ResNet-152."""
    return create_fmpn("fmpn_resnet152", "resnet152", pretrained=pretrained, **kwargs)


@register_model
def fmpn_vgg16_bn(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with VGG-16 (batch norm)."""
    return create_fmpn("fmpn_vgg16_bn", "vgg16_bn", pretrained=pretrained, **kwargs)


@register_model
def fmpn_densenet121(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with DenseNet-121."""
    return create_fmpn("fmpn_densenet121", "densenet121", pretrained=pretrained, **kwargs)


@register_model
def fmpn_mobilenetv3_small_100(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with MobileNetV3 small."""
    return create_fmpn("fmpn_mobilenetv3_small_100", "mobilenetv3_small_100", pretrained=pretrained, **kwargs)


@register_model
def fmpn_mobilenetv3_large_100(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with MobileNetV3 large."""
    return create_fmpn("fmpn_mobilenetv3_large_100", "mobilenetv3_large_100", pretrained=pretrained, **kwargs)


@register_model
def fmpn_efficientnet_b0(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with EfficientNet-B0."""
    return create_fmpn("fmpn_efficientnet_b0", "efficientnet_b0", pretrained=pretrained, **kwargs)


@register_model
def fmpn_convnext_tiny(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with ConvNeXt tiny."""
    return create_fmpn("fmpn_convnext_tiny", "convnext_tiny", pretrained=pretrained, **kwargs)


@register_model
def fmpn_vit_small_patch16_224(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with ViT small, 16-pixel patches."""
    return create_fmpn("fmpn_vit_small_patch16_224", "vit_small_patch16_224", pretrained=pretrained, **kwargs)


@register_model
def fmpn_swin_tiny_patch4_window7_224(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with Swin tiny."""
    name = "swin_tiny_patch4_window7_224"
    return create_fmpn(f"fmpn_{name}", name, pretrained=pretrained, **kwargs)
