"""Feature maps as timm asks for them."""

from typing import Any, Dict

__all__ = ["feature_cfg"]


def feature_cfg(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """How ``features_only=True`` takes feature maps out of a model: all of them, unless the caller names another class.

    Args:
        kwargs: What the entrypoint is told.
    """
    return dict(feature_cls="getter", out_indices=None) if kwargs.get("feature_cls", "getter") == "getter" else {}
