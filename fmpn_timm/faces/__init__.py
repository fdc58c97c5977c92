"""Faces: from a picture to the aligned face that a model sees."""

from .alignment import REFERENCE_LANDMARKS, align_face, five_of_68, similarity_transform
from .recipe import FRAMING, Recipe, check_recipe

__all__ = [
    "FRAMING", "REFERENCE_LANDMARKS", "Recipe", "align_face", "check_recipe", "five_of_68", "similarity_transform",
]
