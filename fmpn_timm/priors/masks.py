"""A set of prior masks: one per expression, with their class names and where they came from."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.files import whole

__all__ = ["ASSETS", "MaskSet", "list_assets"]

ASSETS = Path(__file__).parent / "assets"


def list_assets() -> list[str]:
    """Names of the mask sets that come with the package."""
    return sorted(path.stem for path in ASSETS.glob("*.safetensors"))


@dataclass(frozen=True)
class MaskSet:
    """Prior masks (equation 1 of the FMPN paper).

    Attributes:
        masks: (K, H, W) float32 in [0, 1], brighter where faces of the class move more.
        classes: K canonical class names.
        data: The data set and split whose pairs the masks were averaged over.
        recipe: How faces were aligned and masks processed.
        pairs: Number of neutral/expressive pairs of each class.
        quality: What was seen in building: pairs ``refused`` with the reason, ``artefacts`` of each class.
    """

    masks: torch.Tensor
    classes: tuple[str, ...]
    data: str = "unknown"
    recipe: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        masks = self.masks
        if masks.ndim != 3 or len(masks) != len(self.classes) or masks.dtype != torch.float32:
            raise InputError(
                f"A mask set is float32 (K, H, W) with K class names, got {masks.dtype} {tuple(masks.shape)} and "
                f"{len(self.classes)} name(s)."
            )
        if not (masks.isfinite().all() and masks.min() >= 0 and masks.max() <= 1):
            raise InputError("Prior masks must lie in [0, 1].")
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"A mask set has one mask per class, got {', '.join(self.classes)}.")

    @classmethod
    def load(cls, name: str | Path) -> "MaskSet":
        """Load a mask set from a safetensors file, or one of the package's by name.

        Raises:
            InputError: There is no such set, or the file is no mask set.
        """
        path = Path(name)
        if not path.is_file():
            path = ASSETS / f"{name}.safetensors"
        if not path.is_file():
            raise InputError(f"No mask set {str(name)!r}: give a safetensors file, or {' or '.join(list_assets())}.")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                return cls(
                    masks=file.get_tensor("masks"),
                    classes=tuple(json.loads(metadata["classes"])),
                    data=metadata.get("data", "unknown"),
                    recipe=json.loads(metadata.get("recipe", "{}")),
                    pairs=json.loads(metadata.get("pairs", "{}")),
                    quality=json.loads(metadata.get("quality", "{}")),
                )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:  # InputError and JSON's are ValueErrors
            raise InputError(
                f"{path} is no mask set ({str(error).rstrip('.')}): it needs the tensor 'masks' (K, H, W) and a JSON "
                "list 'classes' in its metadata. Make one with `fmpn priors build` or `fmpn priors import`."
            ) from error

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; it appears under its name only when it is complete.

        Raises:
            OSError: It cannot be written (a full disk, say).
        """
        metadata = {
            "classes": json.dumps(list(self.classes)),
            "data": self.data,
            "recipe": json.dumps(self.recipe),
            "pairs": json.dumps(self.pairs),
            "quality": json.dumps(self.quality),
        }
        with whole(path) as partial:
            save_file({"masks": self.masks.contiguous()}, partial, metadata=metadata)

    @property
    def cut(self) -> Recipe | None:
        """How the faces were cut out of their pictures; None where that is not known."""
        faces = self.recipe.get("faces")
        return Recipe.from_dict(faces) if faces else None

    def select(self, classes: tuple[str, ...] | list[str]) -> "MaskSet":
        """The masks of the given classes, in that order.

        Raises:
            InputError: The set has no mask for one of them.
        """
        missing = [name for name in classes if name not in self.classes]
        if missing:
            raise InputError(
                f"The mask set from {self.data} has no mask for {', '.join(missing)}, only {', '.join(self.classes)}. "
                "Choose another set (--priors) or build one with `fmpn priors build`."
            )
        index = [self.classes.index(name) for name in classes]
        pairs = {name: self.pairs[name] for name in classes if name in self.pairs}
        return replace(self, masks=self.masks[index], classes=tuple(classes), pairs=pairs)

    def with_neutral(self) -> "MaskSet":
        """The set with an empty mask for neutral faces, if it has none: the difference of a neutral face to itself."""
        if "neutral" in self.classes:
            return self
        masks = torch.cat([torch.zeros_like(self.masks[:1]), self.masks])
        return replace(self, masks=masks, classes=("neutral", *self.classes))

    def resize(self, size: int | tuple[int, int]) -> "MaskSet":
        """The set at another height and width, bilinear."""
        size = (size, size) if isinstance(size, int) else size
        masks = F.interpolate(self.masks[:, None], size, mode="bilinear", antialias=True, align_corners=False)
        return replace(self, masks=masks[:, 0].clamp(0, 1))

    def place(self, box: tuple[float, float, float, float] | None, size: int) -> "MaskSet":
        """Lay the masks over square faces of another framing.

        Args:
            box: Where the masks lie in those faces: left, top, right, bottom as shares of their width and height. The
                mask is zero outside. None for the whole face.
            size: Height and width of the faces in pixels.

        Raises:
            InputError: The box is not inside the face.
        """
        left, top, right, bottom = (round(v * size) for v in box or (0, 0, 1, 1))
        if not (0 <= left < right <= size and 0 <= top < bottom <= size):
            raise InputError(f"--mask_box {box}: give left < right and top < bottom, as shares between 0 and 1.")
        inner = self.resize((bottom - top, right - left)).masks
        return replace(self, masks=F.pad(inner, (left, size - right, top, size - bottom)))
