"""Faces: from a picture to the aligned face that a model sees."""

from .alignment import REFERENCE_LANDMARKS, align_face, similarity_transform

__all__ = ["REFERENCE_LANDMARKS", "align_face", "similarity_transform"]
