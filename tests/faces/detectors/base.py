"""What every detector must do: the test of a new one inherits ``DetectorTests``."""

import pickle

import numpy as np
import pytest

from fmpn_timm.faces import Detector, Faces


class DetectorTests:
    """Subclasses give the fixtures ``detector``, and ``pictures`` with a face in each, of more than one size."""

    @pytest.fixture
    def detector(self) -> Detector:
        raise NotImplementedError

    @pytest.fixture
    def pictures(self) -> list[np.ndarray]:
        raise NotImplementedError

    def test_faces_of_each_picture(self, detector, pictures):
        assert len({p.shape for p in pictures}) > 1
        for picture, faces in zip(pictures, detector(pictures), strict=True):
            n = len(faces)
            assert n > 0 and faces.scores.shape == (n,) and 0 < faces.scores.min() <= faces.scores.max() <= 1
            assert faces.boxes.shape == (n, 4) and faces.landmarks.shape == (n, 5, 2)
            assert {faces.boxes.dtype, faces.landmarks.dtype, faces.scores.dtype} == {np.dtype(np.float32)}
            height, width = picture.shape[:2]
            assert (faces.boxes >= 0).all() and (faces.boxes <= [width, height, width, height]).all()
            area = (faces.boxes[:, 2:] - faces.boxes[:, :2]).prod(1)
            assert (area > 0).all() and (np.diff(area) <= 0).all()

    def test_company_changes_nothing(self, detector, pictures):
        for picture, faces in zip(pictures, detector(pictures), strict=True):
            self.assert_equal(detector([picture])[0], faces)

    def test_nothing_to_find(self, detector, pictures):
        assert detector([]) == []
        flat = np.full((90, 120, 3), 90, np.uint8)
        found = detector([flat, pictures[0], flat[:1, :1]])
        assert [len(faces) > 0 for faces in found] == [False, True, False]
        assert found[0].boxes.shape == (0, 4) and found[0].landmarks.shape == (0, 5, 2)

    def test_pickles_for_worker_processes(self, detector, pictures):
        again = pickle.loads(pickle.dumps(detector))
        self.assert_equal(again(pictures[:1])[0], detector(pictures[:1])[0])

    @pytest.mark.parametrize("shape", [(20, 20), (20, 20, 4), (0, 20, 3)])
    def test_what_is_no_rgb_picture_is_refused(self, detector, shape):
        with pytest.raises(ValueError, match=r"RGB uint8 \(H, W, 3\)"):
            detector([np.zeros(shape, np.uint8)])

    @staticmethod
    def assert_equal(a: Faces, b: Faces) -> None:
        for name in ("boxes", "landmarks", "scores"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-3)
