"""Tests of the drawn faces."""

import cv2
import numpy as np
import pytest

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.drawn import ACTION_UNITS, draw_face

PLAIN = {"pose": 0.0, "noise": 0.0, "light": 0.0}
SUBJECTS = range(12)

# Rows and columns of a frontal face, as fractions of the picture.
REGIONS = {
    "forehead": (0.24, 0.34, 0.3, 0.7),
    "brows": (0.3, 0.46, 0.25, 0.75),
    "glabella": (0.3, 0.46, 0.42, 0.58),
    "eyes": (0.43, 0.53, 0.28, 0.72),
    "nose": (0.48, 0.64, 0.38, 0.62),
    "cheeks": (0.55, 0.68, 0.22, 0.78),
    "mouth": (0.64, 0.84, 0.33, 0.67),
    "jaw": (0.84, 0.99, 0.3, 0.7),
}


def motion(expression: str, **options) -> np.ndarray:
    """Mean |expressive - neutral| over subjects, (96, 96)."""
    options = {**PLAIN, "intensity": 0.9} | options
    pairs = [(draw_face(s, expression, **options).image, draw_face(s, **options).image) for s in SUBJECTS]
    return np.mean([cv2.absdiff(*pair).mean(2) for pair in pairs], axis=0)


@pytest.fixture(scope="module")
def motions() -> dict[str, dict[str, float]]:
    """Mean motion of each expression in each region."""
    maps = {expression: motion(expression) for expression in EXPRESSIONS[1:]}
    return {key: {name: region(moved, *box).mean() for name, box in REGIONS.items()} for key, moved in maps.items()}


def region(image: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    size = len(image)
    return image[round(top * size) : round(bottom * size), round(left * size) : round(right * size)]


def test_expressions_are_canonical():
    names = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
    assert names == EXPRESSIONS == tuple(ACTION_UNITS)
    assert not ACTION_UNITS["neutral"]
    assert all(0 < weight <= 1 for units in ACTION_UNITS.values() for weight in units.values())


def test_same_arguments_give_same_bits():
    np.random.seed(1)
    first = draw_face(3, "fear", take=5, seed=2, occlusion=0.5)
    np.random.seed(2)
    draw_face(4)
    again = draw_face(3, "fear", take=5, seed=2, occlusion=0.5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.landmarks, again.landmarks)


@pytest.mark.parametrize("change", [{"take": 1}, {"subject": 1}, {"seed": 1}, {"expression": "anger"}])
def test_take_subject_seed_and_expression_matter(change):
    base = {"subject": 0, "expression": "happiness"}
    assert (draw_face(**base).image != draw_face(**base | change).image).any()


@pytest.mark.parametrize("change", [{"subject": 1}, {"seed": 1}])
def test_people_differ_without_nuisance(change):
    base = {"subject": 0, **PLAIN}
    difference = cv2.absdiff(draw_face(**base).image, draw_face(**base | change).image)
    assert difference.mean() > 5


@pytest.mark.parametrize("size", [16, 47, 64, 129])
def test_shape_and_type(size):
    face = draw_face(7, "contempt", size=size)
    assert face.image.shape == (size, size, 3) and face.image.dtype == np.uint8
    assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
    assert (face.subject, face.expression) == (7, "contempt")
    assert face.image.std() > 10


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_landmarks_are_inside_and_in_order(expression):
    for subject in SUBJECTS:
        points = draw_face(subject, expression, take=subject, size=80).landmarks
        right_eye, left_eye, nose, right_mouth, left_mouth = points
        assert (points > 0).all() and (points < 79).all()
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_landmarks_scale_with_the_picture():
    small, large = (draw_face(2, "surprise", size=size).landmarks for size in (64, 128))
    np.testing.assert_allclose((small + 0.5) * 2, large + 0.5, atol=1e-3)


def test_no_pose_is_frontal_and_centred():
    for subject in SUBJECTS:
        points = draw_face(subject, pose=0.0, take=3).landmarks
        np.testing.assert_allclose((points[0] + points[1])[0] / 2, 47.5, atol=1e-3)
        np.testing.assert_allclose(points[0, 1], points[1, 1], atol=1e-3)


def test_landmarks_follow_the_face():
    level, posed = (draw_face(5, size=96, pose=pose, noise=0, light=0) for pose in (0.0, 2.0))
    assert np.abs(level.landmarks - posed.landmarks).max() > 1
    for face in (level, posed):
        x, y = np.rint(face.landmarks[:2]).astype(int).T
        pupil = [face.image[b - 1 : b + 2, a - 1 : a + 2].min() for a, b in zip(x, y, strict=True)]
        assert max(pupil) < 70


def test_neutral_takes_are_identical_without_nuisance():
    first, second = (draw_face(1, take=take, **PLAIN) for take in (0, 1))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)


def test_expression_at_no_intensity_is_neutral():
    for expression in EXPRESSIONS:
        np.testing.assert_array_equal(draw_face(1, expression, intensity=0, **PLAIN).image, draw_face(1, **PLAIN).image)


def test_stronger_expression_moves_more():
    for expression in EXPRESSIONS[1:]:
        assert motion(expression, intensity=1.0).sum() > 1.3 * motion(expression, intensity=0.4).sum()


def test_only_the_face_moves():
    for expression in EXPRESSIONS[1:]:
        moved = motion(expression)
        assert moved[:, :9].max() == moved[:, -9:].max() == moved[:14].max() == 0


@pytest.mark.parametrize(
    ("expression", "moving", "still"),
    [
        ("happiness", ("mouth", "cheeks"), ("forehead", "brows", "glabella")),
        ("surprise", ("brows", "eyes", "mouth", "jaw", "forehead"), ("nose", "cheeks")),
        ("sadness", ("brows", "mouth"), ("nose", "cheeks")),
        ("anger", ("brows", "glabella", "eyes"), ("cheeks", "nose", "jaw")),
        ("disgust", ("nose", "mouth"), ("forehead", "jaw")),
        ("fear", ("brows", "eyes", "mouth"), ("nose", "cheeks")),
        ("contempt", ("mouth",), ("forehead", "brows", "eyes", "nose", "jaw")),
    ],
)
def test_motion_is_where_the_action_units_are(motions, expression, moving, still):
    amount = motions[expression]
    assert min(amount[name] for name in moving) > 1.5 * max(amount[name] for name in still), amount


def test_jaw_drop_lowers_the_mouth_and_smile_raises_it():
    for subject in SUBJECTS:
        rest, smile, gape, frown = (
            draw_face(subject, expression, **PLAIN).landmarks[3:].mean(0)[1]
            for expression in ("neutral", "happiness", "surprise", "sadness")
        )
        assert smile < rest < min(gape, frown)


def test_contempt_is_one_sided_on_either_side():
    shares = []
    for take in range(12):
        options = {**PLAIN, "take": take, "intensity": 1.0}
        moved = cv2.absdiff(draw_face(0, "contempt", **options).image, draw_face(0, **options).image).astype(float)
        shares.append(moved[:, :48].sum() / moved.sum())
    assert all(share < 0.3 or share > 0.7 for share in shares), shares
    assert min(shares) < 0.3 and max(shares) > 0.7


def test_occlusion_covers_part_of_the_face():
    for subject in SUBJECTS:
        bare, covered = (draw_face(subject, "anger", occlusion=occlusion).image for occlusion in (0.0, 1.0))
        assert 0.01 < (cv2.absdiff(bare, covered).max(2) > 25).mean() < 0.6


def test_occlusion_is_a_probability():
    options = {"size": 32, "noise": 0.0}
    covered = [
        (draw_face(0, take=take, occlusion=0.5, **options).image != draw_face(0, take=take, **options).image).any()
        for take in range(40)
    ]
    assert 0.25 < np.mean(covered) < 0.75


@pytest.mark.parametrize("nuisance", ["pose", "noise", "light"])
def test_each_nuisance_changes_the_picture(nuisance):
    plain = draw_face(0, **PLAIN).image
    one, two = (draw_face(0, take=take, **PLAIN | {nuisance: 1.0}).image for take in (0, 1))
    assert (one != plain).any() and (one != two).any()


def test_unknown_expression_names_the_choices():
    with pytest.raises(ValueError, match="unknown expression 'joy'; choose from neutral, happiness, .*contempt"):
        draw_face(0, "joy")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("subject", -1),
        ("take", -1),
        ("seed", -1),
        ("size", 8),
        ("pose", -0.1),
        ("noise", 2.5),
        ("light", float("nan")),
        ("occlusion", 1.5),
        ("intensity", 1.2),
        ("intensity", (0.9, 0.3)),
    ],
)
def test_bad_numbers_are_named(option, value):
    with pytest.raises(ValueError, match=f"^{option} must be"):
        draw_face(**{"subject": 0, option: value})
