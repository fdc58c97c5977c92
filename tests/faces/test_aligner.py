"""Tests of the way from pictures to aligned faces, with a detector that knows where the drawn faces are."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from fmpn_timm.data.drawn import draw_face
from fmpn_timm.errors import InputError
from fmpn_timm.faces import DETECTORS, REFERENCE_LANDMARKS, AlignedFace, FaceAligner, Recipe, cut_faces
from tests.faces.marked import NONE, Marked, marked

RECIPE = Recipe(size=48)
GIVEN = Recipe(detector="dataset", size=48)


@pytest.fixture
def pictures() -> list[np.ndarray]:
    return [marked((5, 5, 30), (60, 20, 70)), marked(), marked((20, 10, 50), shape=(80, 80))]


def test_largest_face_of_each_picture(pictures):
    two, none, one = FaceAligner(RECIPE, Marked())(pictures)
    assert [len(two), len(none), len(one)] == [1, 0, 1]
    face = two[0]
    assert face.image.shape == (48, 48, 3) and face.image.dtype == np.uint8 and face.image[:, :, 0].mean() > 165
    assert face.box.tolist() == [60, 20, 130, 90] and face.score == 0.75 and not face.centered
    np.testing.assert_allclose(face.landmarks, REFERENCE_LANDMARKS * 70 + (60, 20), atol=1e-4)
    np.testing.assert_array_equal(face.image, RECIPE.align(pictures[0], face.landmarks))


def test_the_face_that_the_data_set_marks_is_taken_whichever_is_the_largest(pictures):
    small = REFERENCE_LANDMARKS * 30 + (5, 5)
    three, marks = [pictures[0], pictures[2], pictures[2]], [small, None, small - 50]
    [face], [one], none = FaceAligner(RECIPE, Marked())(three, marks)
    assert face.box.tolist() == [5, 5, 35, 35] and one.box[0] == 20
    assert len(none) == 0 and none.reason == "no face was found"  # where it should be
    both, = FaceAligner(RECIPE, Marked(), policy="all")(pictures[:1], [small])
    assert len(both) == 2


def test_all_faces_largest_first(pictures):
    two, none, one = FaceAligner(RECIPE, Marked(), policy="all")(pictures)
    assert [face.box[0] for face in two] == [60, 5] and len(none) == 0 and len(one) == 1
    assert two[1].image[:, :, 0].mean() < 135
    assert (two.reason, one.reason) == ("", "")


@pytest.mark.parametrize("policy", ["largest", "all"])
def test_without_a_face_the_reason_is_said(pictures, policy):
    none = FaceAligner(RECIPE, Marked(), policy)(pictures)[1]
    assert none == [] and none.reason == "no face was found"


@pytest.mark.parametrize("shape", [(60, 100), (100, 60)])
def test_center_takes_the_middle_and_says_so(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    picture[shape[0] // 2 - 30:, shape[1] // 2 - 30:][:60, :60] = 200
    faces, = FaceAligner(RECIPE, lambda pictures: [NONE], missing="center")([picture])
    face, = faces
    assert face.centered and face.landmarks is None and face.score == 0
    assert (face.image == 200).all() and face.image.shape == (48, 48, 3)
    assert face.box.tolist() == ([20, 0, 80, 60] if shape[1] == 100 else [0, 20, 60, 80])
    assert faces.reason == "no face was found"


def test_the_middle_is_in_the_recipes_color():
    picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    face, = cut_faces(picture, NONE, Recipe(size=48, color="grey"), missing="center")
    assert (face.image == face.image[..., :1]).all()


def test_the_surest_face_is_told_whichever_is_the_largest(pictures):
    faces, = Marked()(pictures[:1])
    faces = replace(faces, scores=np.array([0.5, 0.9], np.float32))
    assert cut_faces(pictures[0], faces, RECIPE).surest == pytest.approx(0.9)


def test_a_mark_beside_a_large_face_is_not_that_of_a_nearer_small_one():
    picture, mark = marked((5, 5, 20), (40, 5, 90), shape=(120, 140)), REFERENCE_LANDMARKS * 4 + (42, 12)
    face, = FaceAligner(RECIPE, Marked())([picture], [mark])[0]
    assert face.box[0] == 40  # the small one's middle is nearer, but the mark lies in the large one


def test_center_is_for_pictures_without_a_face_only(pictures):
    results = FaceAligner(RECIPE, Marked(), missing="center")(pictures)
    assert [[face.centered for face in faces] for faces in results] == [[False], [True], [False]]


def test_the_recipe_s_margin_and_size_are_used(pictures):
    near, = FaceAligner(RECIPE, Marked())(pictures[:1])[0]
    wide, = FaceAligner(Recipe(size=64, margin=0.5), Marked())(pictures[:1])[0]
    assert wide.image.shape == (64, 64, 3)
    assert (near.image[:, :, 0] > 100).mean() > 0.9 and (wide.image[:, :, 0] > 165).mean() < 0.5


def test_the_recipe_names_the_detector(monkeypatch, pictures):
    monkeypatch.setitem(DETECTORS, "marked", Marked)
    aligner = FaceAligner(Recipe(detector="marked", size=48))
    assert [len(faces) for faces in aligner(pictures)] == [1, 0, 1]
    assert aligner(pictures)[1].reason == "no face was found"
    with pytest.raises(InputError, match="Unknown detector 'dlib'"):
        FaceAligner(Recipe(detector="dlib"))


def test_landmarks_of_the_data_set():
    drawn = [draw_face(subject, size=96) for subject in range(2)]
    aligner = FaceAligner(GIVEN)
    results = aligner([face.image for face in drawn], [face.landmarks for face in drawn])
    for face, (aligned,) in zip(drawn, results, strict=True):
        np.testing.assert_array_equal(aligned.image, GIVEN.align(face.image, face.landmarks))
        np.testing.assert_array_equal(aligned.landmarks, face.landmarks.astype(np.float32))
        np.testing.assert_allclose(aligned.box, [*face.landmarks.min(0), *face.landmarks.max(0)], rtol=1e-6)
        assert aligned.score == 1


def test_landmarks_of_the_data_set_must_be_there():
    picture = draw_face(0, size=64).image
    with pytest.raises(InputError, match=r"picture 0: .*data set's own landmarks.*there are none\. Name a detector"):
        FaceAligner(GIVEN)([picture])
    with pytest.raises(InputError, match=r"b\.png: landmarks of shape \(68, 2\), expected \(5, 2\)"):
        FaceAligner(GIVEN)([picture, picture], [REFERENCE_LANDMARKS * 64, np.zeros((68, 2))], ["a.png", "b.png"])
    with pytest.raises(InputError, match="give no detector"):
        FaceAligner(GIVEN, Marked())


@pytest.mark.parametrize("landmarks", [
    np.full((5, 2), np.nan), np.full((5, 2), 7.0), REFERENCE_LANDMARKS * 64 + 500, REFERENCE_LANDMARKS * 0 - 1
])
def test_landmarks_that_mark_no_face_are_told(landmarks):
    picture = draw_face(0, size=64).image
    skipped, = FaceAligner(GIVEN)([picture], [landmarks])
    assert skipped == [] and skipped.reason == "the data set's landmarks mark no face"
    centered, = FaceAligner(GIVEN, missing="center")([picture], [landmarks])
    assert centered[0].centered and centered.reason == skipped.reason


def test_landmarks_of_the_data_set_cut_and_where_there_are_none_the_picture_is_named():
    face = draw_face(3, size=64)
    aligned, = FaceAligner(GIVEN)([face.image], [face.landmarks])
    np.testing.assert_array_equal(aligned[0].image, GIVEN.align(face.image, face.landmarks))
    with pytest.raises(InputError, match=r"bare\.png: the recipe takes the data set's own landmarks"):
        FaceAligner(GIVEN)([face.image] * 2, [face.landmarks, None], ["s3.png", "bare.png"])


@pytest.mark.parametrize(("options", "message"), [
    ({"policy": "best"}, "Unknown policy 'best': take the largest face or all"),
    ({"missing": "guess"}, "Unknown choice 'guess' for a picture without a face: skip or center"),
])
def test_unknown_policies_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FaceAligner(RECIPE, Marked(), **options)
    with pytest.raises(InputError, match=message):
        cut_faces(marked(), NONE, RECIPE, **options)


def test_aligner_and_its_faces_pickle(pictures):
    aligner = pickle.loads(pickle.dumps(FaceAligner(RECIPE, Marked(), "all")))
    results = pickle.loads(pickle.dumps(aligner(pictures)))
    assert [len(faces) for faces in results] == [2, 0, 1] and results[1].reason


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_face_of_a_turned_picture_is_told_where_it_was(quarters):
    picture = np.arange(5 * 7).reshape(5, 7)
    turned = np.rot90(picture, quarters)
    for y, x in np.ndindex(turned.shape):
        box, landmarks = np.array([x - 1, y - 2, x + 2, y + 3], np.float32), np.full((5, 2), (x, y), np.float32)
        face = AlignedFace(np.zeros((1, 1, 3), np.uint8), box, landmarks, 0.9).turned_back(quarters, picture.shape)
        column, row = face.landmarks[0].astype(int)
        assert picture[row, column] == turned[y, x]
        wide = quarters % 2 == 1
        np.testing.assert_array_equal(face.box[2:] - face.box[:2], [5, 3] if wide else [3, 5])
        np.testing.assert_array_equal((face.box[:2] + face.box[2:] - 1) / 2, [column, row])  # its middle pixel
