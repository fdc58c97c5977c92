"""Feature maps as timm asks for them."""

from typing import Any, Dict, List, Optional, Union

__all__ = ["feature_cfg", "feature_indices"]


def feature_cfg(kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """How ``features_only=True`` takes feature maps out of a model: all of them, unless the caller says how.

    Args:
        kwargs: What the entrypoint is told.
    """
    return {} if kwargs.get("feature_cls") else dict(feature_cls="getter", out_indices=None)


def feature_indices(number: int, indices: Optional[Union[int, List[int]]] = None) -> List[int]:
    """Feature maps as timm's ``forward_intermediates`` names them.

    Args:
        number: How many maps there are.
        indices: None for all, a number for the last so many, or a list, where negative ones count from the end.

    Raises:
        ValueError: There are not so many.
    """
    if indices is None:
        return list(range(number))
    taken = list(range(number - indices, number)) if isinstance(indices, int) else [
        number + i if i < 0 else i for i in indices
    ]
    if not taken or min(taken) < 0 or max(taken) >= number:
        raise ValueError(f"indices {indices} are out of range: there are {number} feature maps.")
    return taken
