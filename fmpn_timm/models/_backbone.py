"""What our models that stand on another timm model share: its config, its weights, and what is handed on to it."""

import difflib
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple, Type, Union

import timm
import torch
import torch.nn as nn
from timm.models import build_model_with_cfg, get_pretrained_cfg

from ._features import feature_cfg
from ._published import create_published, registered_cfg, wants_published

__all__ = ["OnBackbone", "backbone_cfg", "build_on_backbone", "prefixed"]

PREFIX = "backbone."
HOSTS = ("fmpn", "msca")  # names that begin so stand on a backbone and are none
#: What a model hands on to its backbone of its own arguments.
HANDED_ON = ("in_chans", "num_classes", "global_pool", "img_size", "drop_rate", "drop_path_rate")
DROP_RATES = ("drop_rate", "drop_path_rate")
ANY_BACKBONE = ("fmpn", "fmpn_lite", "msca")  # of these the caller chooses it


class OnBackbone(nn.Module):
    """A model on a timm model, ``backbone``: the part of timm's contract that is the same for all of them."""

    __jit_unused_properties__ = ["feature_info", "_model_args"]

    @property
    def _model_args(self) -> Dict[str, Any]:  # what timm writes into config.json
        return self._saved_args(dict(self.__dict__.get("_args", {})))

    @_model_args.setter
    def _model_args(self, args: Dict[str, Any]) -> None:
        # The request for the backbone's own weights stays out of it: a saved model holds its weights, and must not
        # download others first.
        self.__dict__["_args"] = {k: v for k, v in args.items() if k != "pretrained_backbone"}

    def _saved_args(self, args: Dict[str, Any]) -> Dict[str, Any]:
        """Arguments that rebuild the model, from those it was created with."""
        # timm notes on the backbone what reset_classifier and set_input_size changed in it (ViT: fc_norm).
        recorded = getattr(self.backbone, "_model_args", {})
        changed = {k: v for k, v in recorded.items() if k not in HANDED_ON}
        given = args.get("backbone_kwargs") or {}
        if changed or given:  # drop rates are of a training, and timm saves none
            args["backbone_kwargs"] = {k: v for k, v in {**given, **changed}.items() if k not in DROP_RATES}
        return args

    @property
    def feature_info(self) -> List[Dict[str, Any]]:
        return [dict(info, module=f"{PREFIX}{info['module']}") for info in self.backbone.feature_info]

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        names = self.backbone.no_weight_decay() if hasattr(self.backbone, "no_weight_decay") else ()
        return {f"{PREFIX}{name}" for name in names}

    @torch.jit.ignore
    def set_input_size(self, img_size: Optional[Union[int, Tuple[int, int]]] = None, **kwargs) -> None:
        """Rebuild a backbone that is made for one input size; the others take any size as they are."""
        if hasattr(self.backbone, "set_input_size"):
            self.backbone.set_input_size(img_size=img_size, **kwargs)
            size = getattr(self.backbone, "_traits", {}).get("img_size")
            if size is not None:
                self._traits = dict(getattr(self, "_traits", {}), img_size=size)  # timm saves the size from here


def backbone_cfg(backbone: str):
    """The backbone's pretrained config.

    Raises:
        ValueError: There is no such timm model, or it has no config.
    """
    name = backbone.split(".", 1)[0]
    if name.startswith(HOSTS) or not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"Unknown backbone {backbone!r}: give the name of a timm model, see timm.list_models().{hint}")
    cfg = get_pretrained_cfg(backbone)
    if cfg is None:
        raise ValueError(f"The timm model {backbone!r} has no config to take its input size and normalisation from.")
    return cfg


def prefixed(names: Optional[Union[str, Tuple[str, ...]]]) -> Optional[Union[str, Tuple[str, ...]]]:
    """Names of the backbone's modules (``classifier``, ``first_conv`` of its config) in the model that stands on it."""
    if names is None or isinstance(names, str):
        return names and f"{PREFIX}{names}"
    names = tuple(f"{PREFIX}{name}" for name in names)
    return names[0] if len(names) == 1 else names


def build_on_backbone(
        model_cls: Type[OnBackbone],
        cfg: Callable[[str], Dict[str, Any]],
        variant: str,
        backbone: str,
        pretrained: bool = False,
        **kwargs,
) -> OnBackbone:
    """timm's ``build_model_with_cfg`` for a model on a backbone.

    Args:
        model_cls: The class.
        cfg: The model's config on a backbone of this name.
        variant: Name of the architecture; one of ``ANY_BACKBONE`` where the caller chooses the backbone.
        backbone: Name of the backbone.
        pretrained: Load weights of the whole model: the declared ones, unless the caller names others.
    """
    if wants_published(pretrained, kwargs):
        return create_published(variant, **kwargs)
    if pretrained or kwargs.get("pretrained_model_args") is not None:
        kwargs["pretrained_backbone"] = False  # the model's own weights, or a saved model's, replace the backbone's
    given = kwargs.get("pretrained_cfg")
    registered = registered_cfg(kwargs)
    # the config of a model on any backbone follows from that one, but for what a caller has changed
    if variant in ANY_BACKBONE and (registered or not isinstance(given, dict)):
        own = cfg(backbone)
        if registered:
            default = get_pretrained_cfg(variant).to_dict()
            own = {key: value for key, value in own.items() if registered.get(key) == default.get(key)}
        kwargs["pretrained_cfg_overlay"] = dict(own, **(kwargs.get("pretrained_cfg_overlay") or {}))
    model = build_model_with_cfg(
        model_cls,
        variant,
        pretrained,
        pretrained_filter_fn=_filter_checkpoint,
        feature_cfg=feature_cfg(kwargs),
        backbone=backbone,
        **kwargs,
    )
    if hasattr(model, "model"):  # timm's feature getter, which does not hand this on by itself
        model.set_grad_checkpointing = model.model.set_grad_checkpointing
    return model


def _filter_checkpoint(state_dict: Dict[str, torch.Tensor], model: OnBackbone) -> Dict[str, torch.Tensor]:
    """Adapt a checkpoint whose backbone was built for another input size, by the backbone's own filter."""
    backbone = {k[len(PREFIX):]: v for k, v in state_dict.items() if k.startswith(PREFIX)}
    classifier = model.pretrained_cfg.get("classifier") or ()
    classifier = (classifier,) if isinstance(classifier, str) else classifier
    mismatch = any(
        k in backbone and backbone[k].shape != v.shape and f"{PREFIX}{k}".rpartition(".")[0] not in classifier
        for k, v in model.backbone.state_dict().items()
    )
    source = getattr(model, "pretrained_model_args", {}).get("img_size") or model.pretrained_cfg["input_size"][-2:]
    source = (source, source) if isinstance(source, int) else tuple(source)
    target = getattr(model, "_traits", {}).get("img_size")
    resized = target is not None and tuple(target) != source  # shapes can agree: 6 x 10 patches and 10 x 6
    backbone_filter = getattr(sys.modules[type(model.backbone).__module__], "checkpoint_filter_fn", None)
    if not (mismatch or resized) or backbone_filter is None:
        return state_dict
    model.backbone.pretrained_model_args = dict(img_size=source)  # the filter takes the checkpoint's grid from it
    rest = {k: v for k, v in state_dict.items() if not k.startswith(PREFIX)}
    return {**rest, **{f"{PREFIX}{k}": v for k, v in backbone_filter(backbone, model.backbone).items()}}
