"""Which neutral/expressive pairs are fit for equation (1), and how clean the masks that come out are."""

from dataclasses import dataclass

import cv2
import numpy as np

from fmpn_timm.faces import REFERENCE_LANDMARKS

from .regions import face_region

__all__ = ["LIMITS", "PairLimits", "artefacts", "match_light"]


def artefacts(mask: np.ndarray, landmarks: np.ndarray = REFERENCE_LANDMARKS) -> float:
    """Share of a mask's energy (the sum of its squares) outside the face; a clean mask has little there.

    Args:
        mask: (H, W).
        landmarks: Where the landmarks lie in it, as for ``face_region``.
    """
    energy = mask.astype(np.float64) ** 2
    return round(float(energy[~face_region(*mask.shape, landmarks)].sum() / max(energy.sum(), 1e-9)), 4)


def match_light(
        face: np.ndarray,
        reference: np.ndarray,
        how: str = "gain",
        landmarks: np.ndarray = REFERENCE_LANDMARKS,
) -> np.ndarray:
    """Bring the light of a grey face to that of a reference of the same person.

    Args:
        face: Grey face (H, W), 0 to 255.
        reference: Grey face (H, W), 0 to 255.
        how: ``none``, ``gain`` (the factor between their medians inside the face) or ``local`` (the factor between
            their local means, a quarter of the face wide: what the light does, but no expression).
        landmarks: Where the landmarks lie in both, as for ``face_region``.
    """
    if how == "none":
        return face
    if how == "gain":
        return face * _gain(face, reference, landmarks)
    sigma = face.shape[0] / 4
    blurred, wanted = (cv2.GaussianBlur(x + 1.0, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
                       for x in (face, reference))
    return face * (wanted / blurred)


def _gain(face: np.ndarray, reference: np.ndarray, landmarks: np.ndarray) -> float:
    inside = face_region(*face.shape, landmarks)
    return float((np.median(reference[inside]) + 1) / (np.median(face[inside]) + 1))


@dataclass(frozen=True)
class PairLimits:
    """What refuses a pair.

    Attributes:
        light: Largest change of light between the two faces, as a share.
        shift: Largest shift of the upper face between the two, which expressions hardly move, as a share of the size.
        blink: Least share of the expressive face's eye contrast that the neutral face must have: closed eyes have
            little. Expressive faces may close theirs.
        outlier: Largest distance of a pair's difference from its class's median difference, in robust standard
            deviations over the class; classes of fewer than eight pairs have no outliers.
    """

    light: float = 0.5
    shift: float = 0.05
    blink: float = 0.35
    outlier: float = 5.0

    def refuse(
            self,
            face: np.ndarray,
            neutral: np.ndarray,
            landmarks: np.ndarray = REFERENCE_LANDMARKS,
    ) -> str | None:
        """Why a pair of grey faces (H, W), whose landmarks lie as for ``face_region``, is refused, or None."""
        gain = _gain(face, neutral, landmarks)
        if max(gain, 1 / gain) > 1 + self.light:
            return f"light: {max(gain, 1 / gain) - 1:.0%} apart"
        shift = _upper_shift(face * gain, neutral)
        if shift > self.shift:
            return f"alignment: the upper face is {shift:.1%} of the size apart"
        open_face, open_neutral = (_eye_contrast(x, landmarks) for x in (face, neutral))
        if open_neutral < self.blink * open_face:
            return "blink: the neutral face's eyes are closed"
        return None

    def outliers(self, differences: np.ndarray) -> list[str | None]:
        """For each of a class's differences (N, H, W) why it is refused, or None."""
        if len(differences) < 8:
            return [None] * len(differences)
        differences = differences.astype(np.float32)
        distance = np.abs(differences - np.median(differences, axis=0)).mean((1, 2))
        middle = np.median(distance)
        spread = 1.4826 * np.median(np.abs(distance - middle)) + 1e-6
        return [f"outlier: {(d - middle) / spread:.1f} deviations from its class" if d > middle + self.outlier * spread
                else None for d in distance]


#: The limits that stand where none are given.
LIMITS = PairLimits()


def _upper_shift(face: np.ndarray, neutral: np.ndarray) -> float:
    """Shift between the upper halves of two faces (H, W), as a share of the size."""
    size = face.shape[0]
    window = cv2.createHanningWindow((size, size // 2), cv2.CV_64F)
    upper = [np.ascontiguousarray(x[: size // 2]).astype(np.float64) for x in (face, neutral)]
    if min(x.std() for x in upper) < 1:
        return 0.0  # nothing to hold on to
    (dx, dy), response = cv2.phaseCorrelate(*upper, window)
    return float(np.hypot(dx, dy) / size) if response > 0.1 else 0.0


def _eye_contrast(face: np.ndarray, landmarks: np.ndarray) -> float:
    """How dark the darkest of the eyes is against their surroundings, in grey levels."""
    size = face.shape[0]
    reach = max(round(0.225 * float(landmarks[1, 0] - landmarks[0, 0]) * size), 2)
    contrast = []
    for x, y in landmarks[:2]:
        column, row = round(float(x) * size), round(float(y) * size)
        eye = face[max(row - reach // 2, 0):row + reach // 2 + 1, max(column - reach, 0):column + reach + 1]
        contrast.append(float(np.median(eye) - np.quantile(eye, 0.05)))
    return max(contrast) + 1
