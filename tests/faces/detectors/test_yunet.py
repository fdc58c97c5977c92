"""Tests of YuNet. Those that look at faces need its file and the London pictures."""

import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from fmpn_timm.data.samples import read_picture
from fmpn_timm.errors import InputError
from fmpn_timm.faces import FaceAligner, Recipe, create_detector
from fmpn_timm.faces.detectors import YuNet, yunet
from tests.faces.detectors.base import DetectorTests
from tests.real import YUNET, first_photos, needs_photos, needs_yunet

BOTH_MENDS = r"Go online once.*name a copy of it by path= or FMPN_YUNET"


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return first_photos(10, 160)


@pytest.fixture(scope="module")
def yunet_detector() -> YuNet:
    return create_detector("yunet", path=YUNET)


@needs_yunet
@needs_photos
class TestYuNet(DetectorTests):
    @pytest.fixture
    def detector(self, yunet_detector):
        return yunet_detector

    @pytest.fixture
    def pictures(self, photos):
        return [photos[0], photos[1][:150, 20:], photos[2]]

    def test_one_face_each_the_right_way_round(self, detector, photos):
        for faces in detector(photos):
            assert len(faces) == 1
            right_eye, left_eye, nose, right_mouth, left_mouth = faces.landmarks[0]
            assert right_eye[0] < nose[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
            assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
            assert (faces.landmarks[0] > faces.boxes[0, :2]).all() and (faces.landmarks[0] < faces.boxes[0, 2:]).all()

    def test_forty_faces(self, detector, photos):
        rows = [np.hstack(photos[i % 2 * 5:][:5] + photos[(i + 1) % 2 * 5:][:3]) for i in range(5)]
        collage = np.vstack(rows)
        faces, = FaceAligner(detector=detector, policy="all")([collage])
        assert len(faces) == 40
        middles = {tuple((face.box.reshape(2, 2).mean(0) // 160).astype(int)) for face in faces}
        assert len(middles) == 40
        assert len(FaceAligner(detector=detector)([collage])[0]) == 1

    def test_small_faces_are_enlarged(self, detector, photos):
        crops = [photo[20:116, 32:128] for photo in photos]
        small = [cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA) for crop in crops]
        for faces, of_crop in zip(detector(small), detector(crops), strict=True):
            assert np.abs((faces.landmarks[0] + 0.5) * 2 - 0.5 - of_crop.landmarks[0]).mean() < 3

    def test_a_face_that_fills_a_large_picture_is_found(self, detector, photos):
        face = detector(photos[:1])[0].boxes[0].astype(int)
        crop = photos[0][face[1]:face[3], face[0]:face[2]]
        close_up = cv2.resize(crop, None, fx=30, fy=30, interpolation=cv2.INTER_CUBIC)
        assert len(create_detector("yunet", path=YUNET, score=0.85)([close_up])[0]) == 1

    def test_a_close_up_is_as_sure_as_the_photo_and_others_beside_it_stay(self, detector, photos):
        face = detector(photos[:1])[0].boxes[0].astype(int)
        crop = photos[0][max(face[1] - 15, 0):face[3] + 15, max(face[0] - 15, 0):face[2] + 15]
        size = (700, 700 * crop.shape[0] // crop.shape[1])
        close_up = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
        alone, = detector([close_up])
        assert len(alone) == 1 and alone.scores[0] > 0.92
        assert detector._look(close_up)[:, 14].max(initial=0) < alone.scores[0] - 0.03  # as it is
        both = np.zeros((close_up.shape[0], 1024, 3), np.uint8)
        both[:, :700] = close_up
        both[:160, 780:940] = photos[1]
        found, = detector([both])
        assert len(found) == 2 and found.boxes[0, 2] < 700 < found.boxes[1, 0]

    def test_turned_photo_is_read_upright(self, detector, photos, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(photos[0]).copy()).save(tmp_path / "turned.png", exif=exif)
        self.assert_equal(detector([read_picture(tmp_path / "turned.png")])[0], detector(photos[:1])[0])

    def test_colours_are_rgb(self, detector, photos):
        bgr = cv2.FaceDetectorYN.create(str(YUNET), "", (160 * 2, 160 * 2))
        twice = cv2.resize(photos[0], (320, 320), interpolation=cv2.INTER_CUBIC)
        ours = create_detector("yunet", path=YUNET, min_side=320)(photos[:1])[0].scores[0]
        assert ours == pytest.approx(bgr.detect(twice[:, :, ::-1].copy())[1][0, -1], abs=1e-5)
        assert ours != pytest.approx(bgr.detect(twice)[1][0, -1], abs=1e-5)

    def test_threads_do_not_disturb_each_other(self, detector, photos):
        pictures = [photo[: 100 + 6 * i] for i, photo in enumerate(photos[:4])]
        alone, found = detector(pictures), [None] * 3

        def work(i: int) -> None:
            found[i] = detector(pictures)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for faces in found:
            for a, b in zip(faces, alone, strict=True):
                self.assert_equal(a, b)

    def test_the_variable_names_the_file(self, monkeypatch, photos):
        monkeypatch.setenv("FMPN_YUNET", str(YUNET))
        face, = FaceAligner(Recipe(size=64))(photos[:1])[0]
        assert face.image.shape == (64, 64, 3) and face.score > 0.9 and not face.centered


def test_missing_file_names_both_mends(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=rf"gone\.onnx is missing\. {BOTH_MENDS}"):
        create_detector("yunet", path=tmp_path / "gone.onnx")
    monkeypatch.setenv("FMPN_YUNET", str(tmp_path / "lost.onnx"))
    with pytest.raises(InputError, match=rf"lost\.onnx is missing\. {BOTH_MENDS}"):
        create_detector("yunet")


def test_offline_names_both_mends(monkeypatch):
    def offline(repository, file):
        raise ConnectionError("offline")

    monkeypatch.delenv("FMPN_YUNET", raising=False)
    monkeypatch.setattr(yunet, "hf_hub_download", offline)
    with pytest.raises(InputError, match=rf"not in the cache.* {BOTH_MENDS}"):
        create_detector("yunet")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_wrong_file_names_both_mends(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"yunet\.onnx holds no YuNet.* {BOTH_MENDS}"):
        create_detector("yunet", path=path)


def test_another_network_names_both_mends(tmp_path):
    onnx = pytest.importorskip("onnx")
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3, 32, 32]) for n in ("input", "out")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["input"], ["out"])], "other", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match=rf"other\.onnx holds no YuNet.* {BOTH_MENDS}"):
        create_detector("yunet", path=tmp_path / "other.onnx")
