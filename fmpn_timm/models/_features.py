"""Feature maps as timm asks for them."""

from typing import Any, Dict

__all__ = ["feature_cfg"]


def feature_cfg(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """How ``features_only=True`` takes feature maps out of a model: all of them, unless the caller says how.

    Args:
        kwargs: What the entrypoint is told.
    """
    return {} if kwargs.get("feature_cls") else dict(feature_cls="getter", out_indices=None)
