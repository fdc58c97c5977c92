"""Faces: from a picture to the aligned face that a model sees."""

from .aligner import AlignedFace, AlignedFaces, FaceAligner, cut_faces
from .alignment import REFERENCE_LANDMARKS, align_face, five_of_68, similarity_transform
from .detectors import DETECTORS, Detector, Faces, create_detector
from .recipe import FRAMING, Recipe, check_recipe

__all__ = [
    "DETECTORS",
    "FRAMING",
    "REFERENCE_LANDMARKS",
    "AlignedFace",
    "AlignedFaces",
    "Detector",
    "FaceAligner",
    "Faces",
    "Recipe",
    "align_face",
    "check_recipe",
    "create_detector",
    "cut_faces",
    "five_of_68",
    "similarity_transform",
]
