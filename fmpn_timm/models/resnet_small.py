"""ResNet for small pictures, a backbone for faces of some 48 pixels such as FER2013's.

Paper: `Deep Residual Learning for Image Recognition` - https://arxiv.org/abs/1512.03385, section 4.2: a 3 x 3 first
convolution and no pooling after it, so that a small picture is not shrunk fourfold before the first block. Built from
timm's ResNet.
"""

from typing import Any, Dict, Tuple

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

__all__ = ["SmallResNet"]


class SmallResNet(ResNet):
    """timm's ResNet of basic blocks with a 3 x 3 stem of stride 2, no pooling after it, and average-pool shortcuts.

    Args:
        in_chans: Channels of the picture.
        layers: Blocks of each stage.
        channels: Channels of each stage.
        stem_channels: Channels of the first convolution.
        zero_init_last: Start each block as its shortcut alone, as timm does; short trainings learn faster without.
        kwargs: Further arguments of timm's ResNet.
    """

    def __init__(
            self,
            in_chans: int = 3,
            layers: Tuple[int, ...] = (2, 2, 2, 2),
            channels: Tuple[int, ...] = (64, 128, 256, 256),
            stem_channels: int = 32,
            zero_init_last: bool = False,
            device=None,
            dtype=None,
            **kwargs,
    ):
        dd = dict(device=device, dtype=dtype)
        # timm's plain stem is 64 channels wide; that of its deep one can be chosen
        kwargs = {"avg_down": True, **kwargs, "stem_type": "deep", "stem_width": stem_channels // 2}
        super().__init__(
            BasicBlock, layers, in_chans=in_chans, channels=channels, zero_init_last=zero_init_last, **dd, **kwargs
        )
        self.conv1 = nn.Conv2d(in_chans, stem_channels, 3, stride=2, padding=1, bias=False, **dd)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()
        for info in self.feature_info[1:]:
            info["reduction"] //= 2  # timm counts the pooling


def _cfg(**kwargs) -> Dict[str, Any]:
    return dict(
        num_classes=1000,
        input_size=(3, 48, 48),
        pool_size=(3, 3),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        first_conv="conv1",
        classifier="fc",
        **kwargs,
    )


default_cfgs = generate_default_cfgs({"resnet18_small": _cfg()})


@register_model
def resnet18_small(pretrained: bool = False, **kwargs) -> SmallResNet:
    """ResNet-18 for small pictures: 5.2 M parameters without a head."""
    return build_model_with_cfg(SmallResNet, "resnet18_small", pretrained, **kwargs)
