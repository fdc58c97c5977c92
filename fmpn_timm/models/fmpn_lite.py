"""FMPN with the lite mask generator in front of the named backbones: ``fmpn_lite_<backbone>``.

The network is ``FMPN``; only its mask generator is another, ``LiteMaskGenerator``, which costs next to nothing where
the paper's costs several times the backbone.
"""

from timm.models import generate_default_cfgs, register_model

from .fmpn import FMPN, create_fmpn, fmpn_cfg

default_cfgs = generate_default_cfgs({
    "fmpn_lite": fmpn_cfg("inception_v3"),
    "fmpn_lite_inception_v3": fmpn_cfg("inception_v3"),
    "fmpn_lite_resnet18_small.ferplus": fmpn_cfg(
        "resnet18_small",
        hf_hub_id="fmpn-timm/fmpn_lite_resnet18_small.ferplus",
    ),
    "fmpn_lite_resnet18": fmpn_cfg("resnet18"),
    "fmpn_lite_resnet50": fmpn_cfg("resnet50"),
    "fmpn_lite_resnet152": fmpn_cfg("resnet152"),
    "fmpn_lite_vgg16_bn": fmpn_cfg("vgg16_bn"),
    "fmpn_lite_densenet121": fmpn_cfg("densenet121"),
    "fmpn_lite_mobilenetv3_small_100": fmpn_cfg("mobilenetv3_small_100"),
    "fmpn_lite_mobilenetv3_large_100": fmpn_cfg("mobilenetv3_large_100"),
    "fmpn_lite_efficientnet_b0": fmpn_cfg("efficientnet_b0"),
    "fmpn_lite_convnext_tiny": fmpn_cfg("convnext_tiny"),
    "fmpn_lite_vit_small_patch16_224": fmpn_cfg("vit_small_patch16_224"),
    "fmpn_lite_swin_tiny_patch4_window7_224": fmpn_cfg("swin_tiny_patch4_window7_224"),
})


def _create(backbone: str, pretrained: bool, variant: str | None = None, **kwargs) -> FMPN:
    return create_fmpn(variant or f"fmpn_lite_{backbone}", backbone, pretrained, **{"generator": "lite", **kwargs})


@register_model
def fmpn_lite(pretrained: bool = False, backbone: str = "inception_v3", **kwargs) -> FMPN:
    """FMPN with the lite mask generator in front of any timm model."""
    return _create(backbone, pretrained, "fmpn_lite", **kwargs)


@register_model
def fmpn_lite_inception_v3(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and Inception v3."""
    return _create("inception_v3", pretrained, **kwargs)


@register_model
def fmpn_lite_resnet18_small(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and a ResNet-18 for faces of some 48 pixels."""
    return _create("resnet18_small", pretrained, **kwargs)


@register_model
def fmpn_lite_resnet18(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and ResNet-18."""
    return _create("resnet18", pretrained, **kwargs)


@register_model
def fmpn_lite_resnet50(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and ResNet-50."""
    return _create("resnet50", pretrained, **kwargs)


@register_model
def fmpn_lite_resnet152(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and ResNet-152."""
    return _create("resnet152", pretrained, **kwargs)


@register_model
def fmpn_lite_vgg16_bn(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and VGG-16 (batch norm)."""
    return _create("vgg16_bn", pretrained, **kwargs)


@register_model
def fmpn_lite_densenet121(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and DenseNet-121."""
    return _create("densenet121", pretrained, **kwargs)


@register_model
def fmpn_lite_mobilenetv3_small_100(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and MobileNetV3 small."""
    return _create("mobilenetv3_small_100", pretrained, **kwargs)


@register_model
def fmpn_lite_mobilenetv3_large_100(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and MobileNetV3 large."""
    return _create("mobilenetv3_large_100", pretrained, **kwargs)


@register_model
def fmpn_lite_efficientnet_b0(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and EfficientNet-B0."""
    return _create("efficientnet_b0", pretrained, **kwargs)


@register_model
def fmpn_lite_convnext_tiny(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and ConvNeXt tiny."""
    return _create("convnext_tiny", pretrained, **kwargs)


@register_model
def fmpn_lite_vit_small_patch16_224(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and ViT small, 16-pixel patches."""
    return _create("vit_small_patch16_224", pretrained, **kwargs)


@register_model
def fmpn_lite_swin_tiny_patch4_window7_224(pretrained: bool = False, **kwargs) -> FMPN:
    """FMPN with the lite mask generator and Swin tiny."""
    return _create("swin_tiny_patch4_window7_224", pretrained, **kwargs)
