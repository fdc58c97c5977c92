"""From pictures to aligned faces by a recipe: which faces of a picture are taken, and what is done without one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fmpn_timm.errors import InputError

from .detectors import Detector, Faces, create_detector
from .recipe import Recipe

__all__ = ["AlignedFace", "AlignedFaces", "FaceAligner", "cut_faces", "no_landmarks"]

POLICIES, MISSING = ("largest", "all"), ("skip", "center")


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face that was cut out of a picture.

    Attributes:
        image: RGB uint8 (size, size, 3).
        box: (4,) float32, x1 y1 x2 y2 in pixels of the picture.
        landmarks: (5, 2) float32, pixels (x, y) of the picture; None if no face was found.
        score: The detector's, in [0, 1]; 1 for landmarks that a data set gives, 0 if no face was found.
    """

    image: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray | None
    score: float

    @property
    def centered(self) -> bool:
        """No face was found: this is the middle of the picture."""
        return self.landmarks is None

    def turned_back(self, quarters: int, shape: tuple[int, int]) -> "AlignedFace":
        """The face, of a picture that was turned to the left, where it is in the picture as it was; ``image`` stays.

        Args:
            quarters: How often ``np.rot90`` turned it.
            shape: Height and width of the picture before.
        """
        def back(points: np.ndarray, height: int, width: int) -> np.ndarray:
            corner = [(0, 0), (width, 0), (width, height), (0, height)][quarters]
            turn = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), quarters)
            return (points @ turn.T + corner).astype(np.float32)

        height, width = shape
        corners = back(self.box.reshape(2, 2), height, width)  # a box goes from edge to edge of its pixels
        landmarks = None if self.landmarks is None else back(self.landmarks, height - 1, width - 1)
        return replace(self, box=np.concatenate([corners.min(0), corners.max(0)]), landmarks=landmarks)


class AlignedFaces(list[AlignedFace]):
    """The aligned faces of one picture, the largest first.

    Attributes:
        reason: Why there is none, or why the middle of the picture was taken; empty if a face was found.
        surest: Best score of the faces that were found, also of those that were not taken; 0 if there is none.
    """

    def __init__(self, faces: Iterable[AlignedFace] = (), reason: str = "", surest: float = 0.0):
        super().__init__(faces)
        self.reason, self.surest = reason, surest


class FaceAligner:
    """Finds the faces of pictures and aligns them by a recipe.

    Args:
        recipe: How faces are found and cut; its detector ``dataset`` takes the landmarks that the data set gives.
        detector: A detector to use; if None the one that the recipe names, with its default options.
        policy: ``largest`` takes the largest face of a picture, ``all`` every one.
        missing: What a picture without a face gives: ``skip`` no face, ``center`` its middle.

    Raises:
        InputError: Unknown policy, or the detector cannot be had.
    """

    def __init__(
            self,
            recipe: Recipe | None = None,
            detector: Detector | None = None,
            policy: str = "largest",
            missing: str = "skip",
    ):
        _check(policy, missing)
        self.recipe = Recipe() if recipe is None else recipe
        self.policy, self.missing = policy, missing
        self.given = self.recipe.detector == "dataset"
        if self.given and detector is not None:
            raise InputError("The recipe takes the data set's own landmarks (detector dataset): give no detector.")
        self.detector = create_detector(self.recipe.detector) if detector is None and not self.given else detector

    def __call__(
            self,
            pictures: Sequence[np.ndarray],
            landmarks: Sequence[np.ndarray | None] | None = None,
            names: Sequence[str] | None = None,
    ) -> list[AlignedFaces]:
        """Align the faces of pictures.

        Args:
            pictures: RGB uint8 (H, W, 3) of any sizes.
            landmarks: What the data set gives for each picture, (5, 2) pixels (x, y) in the order of
                ``REFERENCE_LANDMARKS``, or None. With a detector, policy ``largest`` takes the face that they mark,
                whichever is the largest.
            names: Names of the pictures for messages; their numbers if None.

        Returns:
            The faces of each picture.

        Raises:
            InputError: The recipe takes the data set's landmarks and a picture has none.
        """
        landmarks = [None] * len(pictures) if landmarks is None else landmarks
        if self.given:
            names = [f"picture {i}" for i in range(len(pictures))] if names is None else names
            faces = [_given_face(*each) for each in zip(pictures, landmarks, names, strict=True)]
        else:
            faces = self.detector(pictures)
            if self.policy == "largest":
                faces = [_marked(*each) for each in zip(faces, landmarks, strict=True)]
        return [
            cut_faces(picture, found, self.recipe, self.policy, self.missing)
            for picture, found in zip(pictures, faces, strict=True)
        ]


def cut_faces(
        picture: np.ndarray,
        faces: Faces,
        recipe: Recipe,
        policy: str = "largest",
        missing: str = "skip",
) -> AlignedFaces:
    """Cut the faces that were found out of a picture.

    Args:
        picture: RGB uint8 (H, W, 3).
        faces: What was found in it.
        recipe: How faces are cut.
        policy: ``largest`` takes the largest face, ``all`` every one.
        missing: What is returned without a face: ``skip`` an empty list, ``center`` the largest square in the middle of
            the picture; both say the reason.

    Raises:
        InputError: Unknown policy.
    """
    _check(policy, missing)
    if len(faces):
        number = 1 if policy == "largest" else len(faces)
        found = zip(faces.boxes[:number], faces.landmarks, faces.scores, strict=False)
        cut = (AlignedFace(recipe.align(picture, p), box, p, float(score)) for box, p, score in found)
        return AlignedFaces(cut, surest=float(faces.scores.max()))
    given = recipe.detector == "dataset"
    reason = "the data set's landmarks mark no face" if given else "no face was found"
    return AlignedFaces([_center(picture, recipe)] if missing == "center" else [], reason)


def _check(policy: str, missing: str) -> None:
    if policy not in POLICIES:
        raise InputError(f"Unknown policy {policy!r}: take the {' face or '.join(POLICIES)}.")
    if missing not in MISSING:
        raise InputError(f"Unknown choice {missing!r} for a picture without a face: {' or '.join(MISSING)}.")


def no_landmarks(name: str) -> InputError:
    """The error of a picture, called ``name``, whose landmarks the recipe takes and the data set does not give."""
    return InputError(f"{name}: the recipe takes the data set's own landmarks (detector dataset), and there are none. "
                      "Name a detector, such as yunet.")


def _given_face(picture: np.ndarray, landmarks: np.ndarray | None, name: str) -> Faces:
    if landmarks is None:
        raise no_landmarks(name)
    landmarks = np.asarray(landmarks, np.float32)
    if landmarks.shape != (5, 2):
        raise InputError(f"{name}: landmarks of shape {landmarks.shape}, expected (5, 2). Name a detector instead.")
    box = np.concatenate([landmarks.min(0), landmarks.max(0)])
    return Faces.in_picture(box, landmarks, np.ones(1), picture.shape)


def _marked(faces: Faces, landmarks: np.ndarray | None) -> Faces:
    """The face that a data set's landmarks mark, of those found; none if they mark none of these."""
    if landmarks is None or not len(faces):
        return faces
    middle = np.asarray(landmarks, np.float32).mean(0)
    inside = ((faces.boxes[:, :2] <= middle) & (middle <= faces.boxes[:, 2:])).all(1)
    distance = np.linalg.norm(faces.landmarks.mean(1) - middle, axis=1)
    nearest = np.argsort(np.where(inside, distance, np.inf))[:int(inside.any())]
    return Faces(faces.boxes[nearest], faces.landmarks[nearest], faces.scores[nearest])


def _center(picture: np.ndarray, recipe: Recipe) -> AlignedFace:
    size = recipe.size
    height, width = picture.shape[:2]
    side = min(height, width)
    x, y = (width - side) // 2, (height - side) // 2
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    image = cv2.resize(picture[y:y + side, x:x + side], (size, size), interpolation=interpolation)
    return AlignedFace(recipe.colored(image), np.array([x, y, x + side, y + side], np.float32), None, 0.0)
