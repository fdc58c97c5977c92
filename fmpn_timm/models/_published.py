"""Named models with trained weights: where these are, and the model as its own config.json says it was built.

Trained weights are declared in a model file by one line of its ``default_cfgs``,
``"<arch>.<tag>": _cfg(..., hf_hub_id="<owner>/<arch>.<tag>")``. How they were built does not stand there: their own
config.json says it, and is read where they lie.
"""

from typing import Any, Dict, Optional, Union

import timm
import torch.nn as nn
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model, model_entrypoint

__all__ = ["create_published", "registered_cfg", "wants_published", "weights_source"]

PACKAGE = __name__.partition(".")[0]
#: Keys of a config that name weights in a way of their own.
NAMING = ("state_dict", "file", "url", "source")


def weights_folder(name: str) -> Optional[str]:
    """Where the folder of an ``arch.tag`` lies on this machine. Importing ``fmpn_timm`` puts one here that knows."""
    return None


def weights_source(name: str) -> Optional[str]:
    """Where the declared weights of a name (``arch`` or ``arch.tag``) of this package are.

    Returns:
        ``local-dir:<folder>`` where there is such a folder on this machine, else ``hf-hub:<repository>``; None if no
        weights are declared, or the name is not of this package.
    """
    if not is_model(name) or model_entrypoint(name).__module__.partition(".")[0] != PACKAGE:
        return None
    cfg = get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        return None
    folder = weights_folder(f"{cfg.architecture}.{cfg.tag}")
    return f"local-dir:{folder}" if folder else f"hf-hub:{cfg.hf_hub_id}"


def registered_cfg(kwargs: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """The whole config an entrypoint is given, if it is one of the registry's: timm's own scripts hand these on.

    Args:
        kwargs: What the entrypoint is told.

    Returns:
        The config; None for a tag, for that of a saved model, and for one that names weights by itself.
    """
    cfg = kwargs.get("pretrained_cfg")
    cfg = cfg.to_dict() if isinstance(cfg, PretrainedCfg) else cfg
    saved = kwargs.get("pretrained_model_args") is not None
    if not isinstance(cfg, dict) or saved or any(cfg.get(key) for key in NAMING):
        return None
    return cfg


def wants_published(pretrained: bool, kwargs: Dict[str, Any]) -> bool:
    """Whether an entrypoint of a named model is asked for its declared weights, and not for others.

    Args:
        pretrained: Whether it is asked for weights.
        kwargs: What else it is told: a caller can name a file, a repository, or a whole config.
    """
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    named = any(overlay.get(key) for key in (*NAMING, "hf_hub_id"))
    cfg = registered_cfg(kwargs)
    declared = isinstance(kwargs.get("pretrained_cfg") or "", str) or (cfg is not None and bool(cfg.get("hf_hub_id")))
    return pretrained and not named and declared


def create_published(
        variant: str,
        pretrained_cfg: Optional[Union[str, Dict[str, Any], PretrainedCfg]] = None,
        **kwargs: Any,
) -> nn.Module:
    """The model of ``arch`` or ``arch.tag`` with its weights, as its own config.json says it was built.

    Args:
        variant: Name of the architecture.
        pretrained_cfg: The tag, or a config of the registry (``registered_cfg``), of which what a caller has changed
            holds for the model.
        kwargs: Further arguments of ``timm.create_model``.

    Raises:
        RuntimeError: No weights are declared, or they cannot be had.
    """
    cfg = registered_cfg({"pretrained_cfg": pretrained_cfg})
    tag = pretrained_cfg if cfg is None else cfg.get("tag")
    name = f"{variant}.{tag}" if tag else variant
    if cfg is not None and is_model(variant):
        own = get_pretrained_cfg(name).to_dict()
        changed = {key: value for key, value in cfg.items() if own.get(key) != value}
        if changed:
            kwargs["pretrained_cfg_overlay"] = {**changed, **(kwargs.get("pretrained_cfg_overlay") or {})}
    source = weights_source(name)
    if source is None:
        raise RuntimeError(
            f"No pretrained weights exist for {name}. Name a model that has some (hf-hub:<repository> or "
            "local-dir:<folder>), or leave pretrained out; where there is a backbone, pretrained_backbone=True starts "
            "it from its own."
        )
    try:
        return timm.create_model(source, pretrained=True, **kwargs)
    except OSError as error:
        if source.startswith("local-dir:"):
            raise
        tag = get_pretrained_cfg(name).tag
        raise RuntimeError(
            f"No pretrained weights of {name} can be had ({type(error).__name__}): go online once, so that they come "
            f"from {source}, or lay its folder at hub/{variant}.{tag} of a checkout of fmpn-timm."
        ) from error
