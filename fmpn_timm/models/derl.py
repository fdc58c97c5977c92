"""De-expression residue learning (DeRL): what a face has beyond the same person's neutral face says what it expresses.

Paper: `Facial Expression Recognition by De-Expression Residue Learning` (Yang, Ciftci, Yin, CVPR 2018) -
https://openaccess.thecvf.com/content_cvpr_2018/html/Yang_Facial_Expression_Recognition_CVPR_2018_paper.html

Reimplementation. From the paper: a generator that turns a face into the same person's neutral face, layers of the same
size of its encoder and its decoder joined and fed to one local network per size, each with a classifier of its own, and
one classifier on the last fully connected layers of the four and the bottleneck. Ours: every number of layers and
channels, normalisation, dropout, initialisation, the place of the U-Net's skips and the discriminator's form.

Faces are RGB (or grey with ``in_chans=1``) in [0, 1], not normalised; the networks see them grey.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn as nn
from timm.layers import ClassifierHead, to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices

from ._published import create_published, wants_published
from .grey import to_grey
from .mask_generator import ConvBlock

__all__ = ["DeRL", "DeRLOutput", "DeexpressionGenerator", "Discriminator"]

LEVELS = 5  # halvings down to the bottleneck


class DeRLOutput(NamedTuple):
    """All that one pass of DeRL computes."""

    logits: torch.Tensor  # (B, num_classes) of the combined head
    local_logits: torch.Tensor  # (B, 4, num_classes) of the local networks, from large to small maps
    neutral: torch.Tensor  # (B, 1, H, W) in [0, 1]


def init_weights(module: nn.Module) -> None:
    """He's initialisation of convolutions, batch norm weights from N(1, 0.02).

    Conditional GANs usually start with convolutions from N(0, 0.02). The maps are then so faint that the running
    statistics of batch norm, which begin at a variance of 1, need hundreds of updates to come down to theirs; until
    then the frozen generator of stage 2 is another than the one that was trained. And beside the decoder's maps the
    local networks do not see those of the first encoder layer, which has no batch norm.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=0.2)
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")  # torch counts the input channels of these as out
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class DownBlock(nn.Sequential):
    """Convolution 4 x 4, batch norm if asked for, LeakyReLU 0.2."""

    def __init__(self, in_channels: int, channels: int, stride: int = 2, norm: bool = True, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        layers = [nn.Conv2d(in_channels, channels, 4, stride, padding=1, bias=not norm, **dd)]
        if norm:
            layers.append(nn.BatchNorm2d(channels, **dd))
        super().__init__(*layers, nn.LeakyReLU(0.2, inplace=True))


class DoublingBlock(nn.Sequential):
    """Transposed convolution 4 x 4 to twice the size, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__(
            nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1, bias=False, **dd),
            nn.BatchNorm2d(channels, **dd),
            nn.ReLU(inplace=True),
        )


class DeexpressionGenerator(nn.Module):
    """Encoder and decoder that take the expression off a face.

    Args:
        width: Channels of the first encoder layer; the bottleneck has eight times as many.
        unet: Let each decoder layer but the first see the encoder's layer of its size.
    """

    def __init__(self, width: int = 64, unet: bool = False, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}.")
        self.unet = unet
        self.channels = [width, 2 * width, 4 * width, 8 * width, 8 * width]  # of E1-E5
        inputs = [1, *self.channels[:-1]]
        self.encoder = nn.ModuleList([
            DownBlock(i, o, norm=n > 0, **dd) for n, (i, o) in enumerate(zip(inputs, self.channels, strict=True))
        ])
        outputs = self.channels[-2::-1]  # of D1-D4
        skips = [0, *outputs] if unet else [0] * LEVELS
        inputs = [i + s for i, s in zip([self.channels[-1], *outputs], skips, strict=True)]  # of D1-D5
        self.decoder = nn.ModuleList([DoublingBlock(i, o, **dd) for i, o in zip(inputs, outputs, strict=False)])
        self.to_face = nn.ConvTranspose2d(inputs[-1], 1, 4, stride=2, padding=1, **dd)  # D5
        self.apply(init_weights)

    def features(self, grey: torch.Tensor) -> Tuple[List[torch.Tensor], List[torch.Tensor]]:
        """The outputs of E1-E5 (a half to 1/32 of the size) and of D1-D4 (1/16 to a half).

        Args:
            grey: Grey faces (B, 1, H, W) in [0, 1], H and W multiples of 32.
        """
        x = 2 * grey - 1
        encoded: List[torch.Tensor] = []
        for layer in self.encoder:
            x = layer(x)
            encoded.append(x)
        decoded: List[torch.Tensor] = []
        for n, layer in enumerate(self.decoder):
            if self.unet and n > 0:
                x = torch.cat([x, encoded[-1 - n]], 1)
            x = layer(x)
            decoded.append(x)
        return encoded, decoded

    def face(self, encoded: List[torch.Tensor], decoded: List[torch.Tensor]) -> torch.Tensor:
        """The neutral face (B, 1, H, W) in [-1, 1] from what ``features`` gives."""
        x = decoded[-1]
        if self.unet:
            x = torch.cat([x, encoded[0]], 1)
        return self.to_face(x).tanh()

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        """The same people's neutral faces (B, 1, H, W) in [-1, 1], of grey faces (B, 1, H, W) in [0, 1]."""
        encoded, decoded = self.features(grey)
        return self.face(encoded, decoded)


class Discriminator(nn.Module):
    """Tells, patch by patch, true neutral faces from generated ones, given the face they are to belong to.

    Needed in training only: it belongs to the task of stage 1, not to the model.

    Args:
        width: Channels of the first layer.
    """

    def __init__(self, width: int = 64, device=None, dtype=None):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        self.layers = nn.Sequential(
            DownBlock(2, width, norm=False, **dd),
            DownBlock(width, 2 * width, **dd),
            DownBlock(2 * width, 4 * width, **dd),
            DownBlock(4 * width, 8 * width, stride=1, **dd),
            nn.Conv2d(8 * width, 1, 4, stride=1, padding=1, **dd),
        )
        self.apply(init_weights)

    def forward(self, face: torch.Tensor, neutral: torch.Tensor) -> torch.Tensor:
        """Logits (B, 1, H/8 - 2, W/8 - 2) that the neutral faces are true.

        Args:
            face: Grey faces (B, 1, H, W) in [-1, 1].
            neutral: Grey neutral faces (B, 1, H, W) in [-1, 1].
        """
        return self.layers(torch.cat([face, neutral], 1))


class LocalNet(nn.Module):
    """The residue of one size: convolutions and pooling down to 4 x 4 or less, one fully connected layer, a classifier.

    Batch norm stands in front of every ReLU, that of the fully connected layer too: its inputs are all positive, so
    that without it a few updates at a common rate push all its units below zero, for good.

    Args:
        in_chans: Channels of the pair of feature maps.
        size: Their height and width.
        width: Channels of the convolutions; the fully connected layer has twice as many.
        num_classes: Number of classes of the classifier; 0 for none.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
            self,
            in_chans: int,
            size: int,
            width: int,
            num_classes: int,
            drop_rate: float,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        layers = [ConvBlock(in_chans, width, 3, stride=1, **dd)]
        while size > 4:
            layers += [nn.MaxPool2d(2), ConvBlock(width, width, 3, stride=1, **dd)]
            size //= 2
        self.convs = nn.Sequential(*layers)
        self.fc = nn.Linear(width * size * size, 2 * width, bias=False, **dd)
        self.norm = nn.BatchNorm1d(2 * width, **dd)
        self.head = ClassifierHead(2 * width, num_classes, drop_rate=drop_rate, **dd)

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        """The fully connected layer (B, 2 width, 1, 1) of a pair of feature maps (B, in_chans, size, size)."""
        x = self.convs(pair).flatten(1)
        return self.norm(self.fc(x)).relu()[:, :, None, None]


class DeRL(nn.Module):
    """De-expression residue learning.

    ``forward`` gives the logits of the combined head, ``forward_residue`` those of all five classifiers and the neutral
    face, ``neutral`` the neutral face alone, ``residue`` what was taken off. The rest is the contract of timm's models.

    At the default size it has 19.1 M parameters. The generator is trained first and frozen then; the four local
    classifiers help to train the local networks and are not used by ``forward``.

    Args:
        num_classes: Number of expression classes; 0 gives features.
        in_chans: 3 for RGB faces, 1 for grey faces.
        img_size: Height and width of the faces in pixels, a multiple of 32; no other size is taken then.
        global_pool: Pooling of the combined features, which are 1 x 1: ``avg``, or nothing to leave them so.
        drop_rate: Dropout before each classifier.
        width: Channels of the generator's first layer.
        unet: Skips from the generator's encoder to its decoder. They let it copy the face, expression and all.
        local_width: Channels of the local networks; their fully connected layers have twice as many.

    Raises:
        ValueError: A width is below 1, ``img_size`` is no multiple of 32, or ``in_chans`` is neither 1 nor 3.
    """

    def __init__(
            self,
            num_classes: int = 7,
            in_chans: int = 3,
            img_size: Union[int, Tuple[int, int]] = 64,
            global_pool: str = "avg",
            drop_rate: float = 0.5,
            width: int = 64,
            unet: bool = False,
            local_width: int = 128,
            device=None,
            dtype=None,
    ):
        dd = dict(device=device, dtype=dtype)
        super().__init__()
        if in_chans not in (1, 3):
            raise ValueError(f"DeRL takes RGB faces (in_chans=3) or grey faces (in_chans=1), not in_chans={in_chans}.")
        if local_width < 1:
            raise ValueError(f"local_width must be at least 1, got {local_width}.")
        size, across = to_2tuple(img_size)
        if size != across or size < 1 or size % 2**LEVELS:
            raise ValueError(f"DeRL takes square faces, a multiple of 32 pixels high, not img_size={img_size}.")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.img_size = size
        self.generator = DeexpressionGenerator(width, unet, **dd)
        channels = self.generator.channels
        sizes = [self.img_size // 2 ** (n + 1) for n in range(LEVELS)]
        self.local = nn.ModuleList([
            LocalNet(2 * c, size, local_width, num_classes, drop_rate, **dd)
            for c, size in zip(channels[:-1], sizes, strict=False)
        ])
        self.num_features = len(self.local) * 2 * local_width + channels[-1] * sizes[-1] ** 2
        self.head = ClassifierHead(self.num_features, num_classes, global_pool, drop_rate, **dd)
        self.feature_info = [
            dict(num_chs=2 * c if n < LEVELS - 1 else c, reduction=2 ** (n + 1), module=f"generator.encoder.{n}")
            for n, c in enumerate(channels)
        ]

    @property
    def head_hidden_size(self) -> int:
        return self.head.num_features

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        return set()

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False):
        parts = ["generator", "local", "head"]
        if not coarse:
            parts[:1] = [*(f"generator.encoder.{n}" for n in range(LEVELS)),
                         *(f"generator.decoder.{n}" for n in range(LEVELS - 1)), "generator.to_face"]
        return lambda name: next(n for n, part in enumerate(parts) if name.startswith(f"{part}."))

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        assert not enable, "gradient checkpointing not supported"

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Give all five classifiers another number of classes."""
        weight = self.generator.to_face.weight  # heads without classes have none to say where they are
        dd = dict(device=weight.device, dtype=weight.dtype)
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, **dd)
        for net in self.local:
            net.head.reset(num_classes, **dd)

    def _pairs(self, x: torch.Tensor) -> Tuple[List[torch.Tensor], List[torch.Tensor], List[torch.Tensor]]:
        """Pairs (E1, D4) to (E4, D1), joined, with what the generator's encoder and decoder gave."""
        torch._assert(x.shape[2] == self.img_size, "faces need the size the model was created for (img_size)")
        torch._assert(x.shape[3] == self.img_size, "faces need the size the model was created for (img_size)")
        encoded, decoded = self.generator.features(to_grey(x, self.in_chans))
        pairs: List[torch.Tensor] = []
        for n in range(len(decoded)):
            pairs.append(torch.cat([encoded[n], decoded[-1 - n]], 1))
        return pairs, encoded, decoded

    def _local(self, pairs: List[torch.Tensor]) -> List[torch.Tensor]:
        vectors: List[torch.Tensor] = []
        for n, net in enumerate(self.local):
            vectors.append(net(pairs[n]))
        return vectors

    def _join(self, vectors: List[torch.Tensor], bottleneck: torch.Tensor) -> torch.Tensor:
        return torch.cat(vectors + [bottleneck.flatten(1)[:, :, None, None]], 1)

    def neutral(self, x: torch.Tensor) -> torch.Tensor:
        """The same people's neutral faces, as the generator has it.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].

        Returns:
            Grey neutral faces (B, 1, H, W) in [0, 1].
        """
        _, encoded, decoded = self._pairs(x)
        return (self.generator.face(encoded, decoded) + 1) / 2

    def residue(self, x: torch.Tensor) -> torch.Tensor:
        """What the generator took off: ``|x - G(x)|``.

        The classifiers do not read this picture but the layers that made it; it shows what they are about.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].

        Returns:
            Residues (B, 1, H, W) in [0, 1].
        """
        return (to_grey(x, self.in_chans) - self.neutral(x)).abs()

    def forward_residue(self, x: torch.Tensor) -> DeRLOutput:
        """All five logits and the neutral face in one pass.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].
        """
        pairs, encoded, decoded = self._pairs(x)
        vectors = self._local(pairs)
        local_logits = torch.stack([net.head(v) for net, v in zip(self.local, vectors, strict=True)], 1)
        logits = self.head(self._join(vectors, encoded[-1]))
        return DeRLOutput(logits, local_logits, (self.generator.face(encoded, decoded) + 1) / 2)

    def forward_intermediates(
            self,
            x: torch.Tensor,
            indices: Optional[Union[int, List[int]]] = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = "NCHW",
            intermediates_only: bool = False,
    ) -> Union[List[torch.Tensor], Tuple[torch.Tensor, List[torch.Tensor]]]:
        """The four pairs of feature maps, from large to small, and the bottleneck.

        Args:
            x: Faces (B, in_chans, H, W) in [0, 1].
            indices: Which of the five; a number for the last so many, all if None.
            norm: There is no norm to apply.
            stop_early: Makes no difference: the first pair needs the last decoder layer.
            output_fmt: ``NCHW``.
            intermediates_only: Give the feature maps alone, not the features of ``forward_features`` before them.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        pairs, encoded, _ = self._pairs(x)
        levels = [*pairs, encoded[-1]]
        maps = [levels[n] for n in feature_take_indices(LEVELS, indices)[0]]
        return maps if intermediates_only else (self._join(self._local(pairs), encoded[-1]), maps)

    @torch.jit.ignore
    def prune_intermediate_layers(
            self,
            indices: Union[int, List[int]] = 1,
            prune_norm: bool = False,
            prune_head: bool = True,
    ) -> List[int]:
        """Drop what the feature maps do not need: the local networks and the classifier, if ``prune_head``."""
        if prune_head:
            self.num_features = self.generator.channels[-1] * (self.img_size // 2**LEVELS) ** 2  # the bottleneck alone
            self.local = nn.ModuleList()
            self.head.reset(0, in_features=self.num_features)
            self.num_classes = 0
        return feature_take_indices(LEVELS, indices)[0]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """The combined features (B, num_features, 1, 1): local fully connected layers, then the bottleneck."""
        pairs, encoded, _ = self._pairs(x)
        return self._join(self._local(pairs), encoded[-1])

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def _create_derl(variant: str, pretrained: bool = False, **kwargs) -> DeRL:
    if wants_published(pretrained, kwargs):
        return create_published(variant, **kwargs)
    return build_model_with_cfg(
        DeRL,
        variant,
        pretrained,
        feature_cfg=dict(feature_cls="getter", out_indices=tuple(range(LEVELS))),
        **kwargs,
    )


def _cfg(**kwargs) -> Dict[str, Any]:
    return dict(
        num_classes=7,
        input_size=(3, 64, 64),
        fixed_input_size=True,
        pool_size=(1, 1),
        crop_pct=64 / 70,  # crops of 64 from 70 pixels
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        first_conv=(),  # no convolution sees the input's channels: the generator sees grey
        classifier=("head.fc", *(f"local.{n}.head.fc" for n in range(LEVELS - 1))),
        paper_name="Facial Expression Recognition by De-Expression Residue Learning",
        origin_url="https://openaccess.thecvf.com/content_cvpr_2018/html/"
                   "Yang_Facial_Expression_Recognition_CVPR_2018_paper.html",
        **kwargs,
    )


default_cfgs = generate_default_cfgs({
    "derl": _cfg(),
    "derl_unet": _cfg(),
})


@register_model
def derl(pretrained: bool = False, **kwargs) -> DeRL:
    """DeRL for faces of 64 pixels."""
    return _create_derl("derl", pretrained=pretrained, **kwargs)


@register_model
def derl_unet(pretrained: bool = False, **kwargs) -> DeRL:
    """DeRL with a U-Net as generator."""
    return _create_derl("derl_unet", pretrained=pretrained, **dict(kwargs, unet=True))
