"""Resolve timm's ``indices`` of feature maps."""

from typing import List, Optional, Union

__all__ = ["feature_indices"]


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
