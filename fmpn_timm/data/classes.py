"""The canonical expression classes, and other people's names for them."""

from fmpn_timm.errors import InputError

__all__ = ["EXPRESSIONS", "canonical"]

#: Canonical names in canonical order, FERPlus's. Class names travel with every weight and mask set; never a bare index.
EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")

ALIASES = {
    "neutral": ("neutrality", "ne", "neu"),
    "happiness": ("happy", "joy", "smile", "smiling", "ha", "hap"),
    "surprise": ("surprised", "su", "sur"),
    "sadness": ("sad", "sa"),
    "anger": ("angry", "an", "ang"),
    "disgust": ("disgusted", "di", "dis"),
    "fear": ("fearful", "afraid", "scared", "fe", "fea"),
    "contempt": ("contemptuous", "scorn"),
}
_CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in (name, *aliases)}


def canonical(name: str) -> str:
    """The canonical name of an expression.

    Raises:
        InputError: The name is no known name of an expression.
    """
    try:
        return _CANONICAL[name.strip().lower()]
    except KeyError:
        raise InputError(f"Unknown expression {name!r}: use one of {', '.join(EXPRESSIONS)}.") from None
