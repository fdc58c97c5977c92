"""Prior masks without pairs: neutral photos, moved by ICT FaceKit into every expression.

Where a data set has no neutral/expressive pairs, equation (1) of the FMPN paper needs only neutral photos and the
user's copy of the model: the model is fitted to a photo's five landmarks; each of its expressions moves the photo by
the model's displacement field, times the ratio of the model's shading, with what was hidden before (teeth, tongue, the
whites of widened eyes) rendered. The pairs (photo, moved photo), mixed with pairs of rendered people, give masks for
all seven expressions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.ict import (
    EYES,
    FACE,
    HEAD,
    IctModel,
    expression_weights,
    load_ict,
    occlusion,
    paint_face,
    pose_head,
    rasterise,
    shade,
    texture_coordinates,
)
from fmpn_timm.data.readers.ict import read_ict
from fmpn_timm.data.readers.layout import PICTURES, visible_files
from fmpn_timm.data.samples import read_picture
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Detector, Recipe, create_detector, five_of_68, similarity_transform
from fmpn_timm.faces.alignment import shrink

from .build import equalize, grey_face
from .masks import MaskSet
from .pairs import artefacts

__all__ = ["build_masks_from_neutral", "fit_person", "move_photo"]

#: Alignment of the faces that masks are made from: by the eyes, as expressions move nose and mouth.
WEIGHTS = (1.0, 1.0, 0.2, 0.2, 0.2)
INTENSITY = (0.6, 1.0)
ERROR = 0.12  # standard error of a detected landmark, in the model's units
HIDDEN = 0.15  # a point this far behind the surface was hidden, in the model's units
REACH = 2.5  # how far past the edge of the face the background still moves, in the model's units
RATIO = (0.5, 1.7)  # the model's shading changes the photo's light by no more than this


def build_masks_from_neutral(
        photos: str | Path | Sequence[str | Path],
        ict: str | Path,
        size: int = 72,
        detector: Detector | str = "yunet",
        landmarks: Mapping[str, np.ndarray] | None = None,
        draws: int = 3,
        renders: float = 0.4,
        people: int = 100,
        jitter: float = 0.02,
        smooth: float = 0.014,
        mirror: bool = True,
        seed: int = 0,
        progress: bool = True,
) -> MaskSet:
    """Prior masks of all seven expressions from neutral photos and the model.

    Each photo is moved into each expression ``draws`` times, at a random intensity of 0.6 to 1 (contempt on a random
    side). The mean absolute differences of these pairs and of pairs of rendered people, each with an overall mean of
    one, are mixed and equalised: equation (1) with made pairs.

    Args:
        photos: A folder of frontal neutral photos, or their paths.
        ict: The folder of ICT FaceKit's ``FaceXModel``.
        size: Height and width of the masks in pixels.
        detector: What finds the photos' landmarks, or its name.
        landmarks: Landmarks (5, 2) by file name, for photos that need no detector.
        draws: How often each photo is moved into each expression.
        renders: Share of the rendered people in the mixture, 0 to 1.
        people: Number of rendered people.
        jitter: Standard error of the landmarks that expressive faces are aligned by, as a share of the distance
            between the eyes. Real pairs are aligned by detectors, whose errors (1 % from one frame of CK+ to the next,
            about 3 % between pictures) light up every edge.
        smooth: Standard deviation of a Gaussian over the mean difference, as a share of the size; 0 for none.
        mirror: Average every mask with its mirror image.
        seed: Seed of the intensities, the people and the errors.
        progress: Show a progress bar on stderr.

    Returns:
        Seven masks in the default reference frame. Its ``quality`` names the ``refused`` photos, those without a face.

    Raises:
        InputError: No photos, no face in any of them, a broken photo, no model, or a share outside 0 to 1.
    """
    if not 0 <= renders <= 1 or people < 5 or draws < 1:
        raise InputError("Give a share of renders from 0 to 1, at least 5 people and 1 draw, "
                         f"not {renders}, {people} and {draws}.")
    paths = _list_photos(photos)
    model = load_ict(ict)
    name = detector if isinstance(detector, str) else type(detector).__name__.lower()
    recipe = Recipe(detector="dataset" if landmarks else name, size=2 * size, weights=WEIGHTS)
    if isinstance(detector, str) and not landmarks:
        detector = create_detector(detector)
    total, refused, used = np.zeros((len(EXPRESSIONS) - 1, size, size)), [], 0
    for number, path in enumerate(tqdm(paths, desc="moved photos", disable=None if progress else True, leave=False)):
        photo = read_picture(path)
        points = (landmarks or {}).get(path.name)
        if points is None and not landmarks:
            found = detector([photo])[0]
            points = found.landmarks[0] if len(found) else None
        if points is None:
            refused.append({"source": path.name, "reason": "no face"})
            continue
        rng = np.random.default_rng([seed, number])
        weights = [expression_weights(e, rng.uniform(*INTENSITY), mirrored=rng.uniform() < 0.5)
                   for _ in range(draws) for e in EXPRESSIONS[1:]]
        weights.insert(0, {})
        greys = [grey_face(face, size) for face in move_photo(model, photo, points, weights, recipe, jitter, rng)]
        differences = np.abs(np.stack(greys[1:]) - greys[0])
        total += differences.reshape(draws, *total.shape).sum(0)
        used += 1
    if not used:
        raise InputError(f"{paths[0].parent}: no face in any of the {len(paths)} photos. Give frontal photos.")
    total = (1 - renders) * total / total.mean()
    if renders:
        rendered = _rendered(ict, size, people, jitter, seed, progress)
        total += renders * rendered / rendered.mean()
    if mirror:
        total = (total + total[:, :, ::-1]) / 2
    if smooth:
        total = [cv2.GaussianBlur(t, (0, 0), smooth * size, borderType=cv2.BORDER_REPLICATE) for t in total]
    people = people if renders else 0
    made = dict(draws=draws, renders=renders, people=people, jitter=jitter, smooth=smooth, mirror=mirror, seed=seed)
    masks = np.stack([equalize(t) for t in total])
    outside = {name: artefacts(mask, recipe.frame) for name, mask in zip(EXPRESSIONS[1:], masks, strict=True)}
    return MaskSet(
        masks=torch.from_numpy(masks),
        classes=EXPRESSIONS[1:],
        data=f"{used} neutral photos moved by ICT FaceKit" + (f", {people} rendered people" if renders else ""),
        recipe={"size": size, "options": made, "post": "histogram equalisation", "faces": recipe.as_dict()},
        pairs=dict.fromkeys(EXPRESSIONS[1:], draws * used + people),
        quality={"refused": refused, "artefacts": outside},
    )


def _list_photos(photos: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(photos, (str, Path)):
        paths = [Path(p) for p in photos]
    elif Path(photos).is_dir():
        paths = visible_files(Path(photos), PICTURES)
    else:
        raise InputError(f"{photos} is not a folder: give the folder of the neutral photos.")
    if not paths:
        raise InputError(f"{photos} holds no pictures ({', '.join(PICTURES)}): give the folder of the neutral photos.")
    return paths


def _rendered(ict: str | Path, size: int, people: int, jitter: float, seed: int, progress: bool) -> np.ndarray:
    """Sums of |expressive - neutral| over rendered people (7, size, size)."""
    faces = read_ict(ict, "all", subjects=people, size=2 * size, seed=seed, weights=WEIGHTS, jitter=jitter)
    total, neutral = np.zeros((len(EXPRESSIONS) - 1, size, size)), None
    for sample in tqdm(faces.samples, desc="rendered people", disable=None if progress else True, leave=False):
        face = grey_face(sample.picture(), size)
        if sample.role == "neutral":  # first of each subject's eight
            neutral = face
        else:
            total[EXPRESSIONS.index(sample.expression) - 1] += np.abs(face - neutral)
    return total


def fit_person(model: IctModel, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neutral head, and where it stands, that explains five landmarks of a frontal photo.

    A similarity brings the mean head's landmarks to the photo's; the most likely identity makes up for the rest
    (regularised least squares: coefficients about N(0, 1), landmarks with an error of ``ERROR``).

    Args:
        landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.

    Returns:
        The neutral head (V, 3), and the similarity (2, 3) from the picture plane of ``pose_head`` to pixels.
    """
    landmarks = np.asarray(landmarks, np.float64)
    weights = np.array([1, 1, 0.2, 1, 1])  # the model's nose tip sits higher than detectors' do
    basis = model.identities[:, model.landmarks]  # (I, 68, 3)
    basis = np.stack([five_of_68(b[:, :2] * (1, -1)) for b in basis.astype(np.float64)])  # (I, 5, 2)
    coefficients = np.zeros(len(basis))
    for _ in range(3):
        person = model.person(coefficients)
        seen = five_of_68(pose_head(person)[model.landmarks, :2].astype(np.float64))
        matrix = similarity_transform(seen, landmarks, weights)
        back = cv2.invertAffineTransform(matrix)
        residual = landmarks @ back[:, :2].T + back[:, 2] - seen
        rows = (basis * np.sqrt(weights)[:, None]).reshape(len(basis), -1).T / ERROR
        target = (residual * np.sqrt(weights)[:, None]).ravel() / ERROR + rows @ coefficients
        coefficients = np.linalg.solve(rows.T @ rows + np.eye(len(basis)), rows.T @ target)
    person = model.person(coefficients)
    seen = five_of_68(pose_head(person)[model.landmarks, :2].astype(np.float64))
    return person, similarity_transform(seen, landmarks, weights)


def move_photo(
        model: IctModel,
        photo: np.ndarray,
        landmarks: np.ndarray,
        weights: Sequence[dict[str, float]],
        recipe: Recipe,
        jitter: float = 0.0,
        rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Move the face in a neutral photo.

    Args:
        photo: RGB uint8 (H, W, 3), a frontal neutral face.
        landmarks: (5, 2), pixels (x, y), in the order of ``REFERENCE_LANDMARKS``.
        weights: Weights of the model's shapes (``expression_weights``) of each picture to make; ``{}`` for the photo
            itself.
        recipe: How to align; a moved face is aligned by its moved landmarks.
        jitter: Standard error of the moved landmarks that a moved face is aligned by, as a share of the distance
            between the eyes: a detector's, which moves every edge of real pairs a little.
        rng: Source of these errors and of the colours of what the photo does not show.

    Returns:
        Aligned RGB faces, uint8 (size, size, 3).
    """
    landmarks = np.asarray(landmarks, np.float64)
    scale = np.hypot(*similarity_transform(landmarks, recipe.frame * recipe.size)[:, 0])
    photo, landmarks = shrink(photo, landmarks, scale)
    person, matrix = fit_person(model, landmarks)
    still = pose_head(person)
    still_points = _project(still, matrix)
    depth = _depth(model, still_points, still, photo.shape[:2])
    still_light = _vertex_light(model, still)
    rng = np.random.default_rng(0) if rng is None else rng
    texture = paint_face(model, rng)
    faces = []
    for moving in weights:
        moved = pose_head(model.move(person, moving))
        points = _project(moved, matrix)
        steps = five_of_68(points[model.landmarks, :2].astype(np.float64))
        steps -= five_of_68(still_points[model.landmarks, :2].astype(np.float64))
        errors = jitter * np.linalg.norm(landmarks[1] - landmarks[0]) * rng.standard_normal((5, 2)) if moving else 0
        frame = recipe.matrix(landmarks + steps + errors)
        if not moving:
            faces.append(_look_up(photo, _rest(frame, recipe.size)))
            continue
        points[:, :2] = points[:, :2] @ frame[:, :2].T + frame[:, 2]
        scale = np.hypot(*(frame[:, :2] @ matrix[:, 0]))
        ratio = (_vertex_light(model, moved) / np.maximum(still_light, 0.1)).clip(*RATIO)
        faces.append(
            _move(model, photo, texture, still_points, depth, ratio, moved, points, frame, scale, recipe.size))
    return faces


def _move(model: IctModel, photo: np.ndarray, texture: np.ndarray, still_points: np.ndarray, depth: np.ndarray,
          ratio: np.ndarray, moved: np.ndarray, points: np.ndarray, frame: np.ndarray, scale: float,
          size: int) -> np.ndarray:
    raster = rasterise(points, model.triangles, (size, size))
    eye = np.isin(model.materials, EYES)
    skin = model.materials == FACE
    values = np.column_stack([still_points, skin, eye, shade(moved, model.triangles), moved[:, 2],
                              texture_coordinates(model), _opens(model), ratio])
    seen = raster.spread(values.astype(np.float32))
    covered = raster.covered()
    light = seen[..., 5] * occlusion(seen[..., 6], covered, scale)

    # Where each pixel was in the photo: the model tells on the face, and the background follows its edge a little way.
    rest = _rest(frame, size)
    face = covered & (seen[..., 3] + seen[..., 4] > 0.5)
    offset = _continue(np.where(face[..., None], seen[..., :2] - rest, 0), face, REACH * scale)
    where = (rest + offset).astype(np.float32)

    moved_photo = _look_up(photo, where).astype(np.float32)
    # Towards the outline the model's light says nothing about the photo, whose outline is another.
    inner = cv2.distanceTransform(face.astype(np.uint8), cv2.DIST_L2, 5) / scale
    ratio = 1 + (np.where(face, seen[..., 10], 1) - 1) * (inner - 0.2).clip(0, 1)
    surface = cv2.remap(depth, where[..., 0], where[..., 1], cv2.INTER_LINEAR)
    mouth = covered & (raster.spread((model.materials > HEAD).astype(np.float32)[:, None] - eye[:, None])[..., 0] > 0.5)
    hidden = mouth | (face & (seen[..., 9] > 0.5) & (surface - seen[..., 2] > HIDDEN))
    hidden = cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), 0.06 * scale)
    ratio = cv2.GaussianBlur(ratio, (0, 0), 0.05 * scale)
    shown = cv2.remap(texture, seen[..., 7], seen[..., 8], cv2.INTER_LINEAR) * light[..., None]
    shown *= 1 - 0.25 * seen[..., 4:5]  # the lids' shadow on what widened eyes bare
    # The rendered parts are as bright as the photo: its skin against the model's.
    gain = np.median(moved_photo[face].mean(1)) / max(np.median(shown[face].mean(1)), 1) if face.any() else 1.0
    picture = moved_photo * ratio[..., None]
    picture += hidden[..., None] * (shown * min(gain, 1.5) - picture)
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def _opens(model: IctModel) -> np.ndarray:
    """1 near the lips' and the lids' edges, where expressions bare what the photo hides, else 0 (V,)."""
    edges = model.vertices[model.landmarks[36:]]
    near = [((model.vertices - edge) ** 2).sum(1) < 0.8**2 for edge in edges]
    return (np.any(near, 0) | np.isin(model.materials, EYES)).astype(np.float32)


def _rest(frame: np.ndarray, size: int) -> np.ndarray:
    """Where each pixel of an aligned face lies in the picture it is cut from (size, size, 2)."""
    back = cv2.invertAffineTransform(frame).astype(np.float32)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    return np.stack([columns, rows], 2) @ back[:, :2].T + back[:, 2]


def _look_up(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    return cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _project(seen: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.column_stack([seen[:, :2] @ matrix[:, :2].T + matrix[:, 2], seen[:, 2]]).astype(np.float32)


def _depth(model: IctModel, points: np.ndarray, seen: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return rasterise(points, model.triangles, shape).spread(seen[:, 2:], empty=-100)[..., 0]


def _vertex_light(model: IctModel, seen: np.ndarray) -> np.ndarray:
    """Light at each vertex (V,), hollows included, which are found in a small picture of the head."""
    size, scale = 128, 7.0
    corner = seen[model.landmarks[30], :2] - size / 2 / scale
    points = np.column_stack([(seen[:, :2] - corner) * scale, seen[:, 2]]).astype(np.float32)
    raster = rasterise(points, model.triangles, (size, size))
    hollow = occlusion(raster.spread(seen[:, 2:])[..., 0], raster.covered(), scale)
    hollow = cv2.GaussianBlur(hollow, (0, 0), 1)
    at_vertices = cv2.remap(hollow, points[:, 0].copy(), points[:, 1].copy(), cv2.INTER_LINEAR,
                            borderMode=cv2.BORDER_REPLICATE)
    return shade(seen, model.triangles)[:, 0] * at_vertices[:, 0]


def _continue(offset: np.ndarray, known: np.ndarray, reach: float) -> np.ndarray:
    """Carry an offset (H, W, 2) past the edge of where it is known, fading to nothing within ``reach`` pixels."""
    if known.all() or not known.any():
        return offset
    distance, nearest = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5,
                                                        labelType=cv2.DIST_LABEL_PIXEL)
    of_label = np.zeros((nearest.max() + 1, 2), np.float32)
    of_label[nearest[known]] = offset[known]
    fade = (1 - distance / reach).clip(0, 1)[..., None]
    carried = cv2.GaussianBlur(of_label[nearest], (0, 0), max(reach / 8, 0.5)) * fade * fade * (3 - 2 * fade)
    return np.where(known[..., None], offset, carried)
