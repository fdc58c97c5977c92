"""Tests of RetinaFace: on a network that sees bright spots, and on the package's own where it is installed."""

import importlib.util
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmpn_timm.errors import InputError
from fmpn_timm.faces import create_detector
from fmpn_timm.faces.detectors import retinaface
from fmpn_timm.faces.detectors.retinaface import anchors_of, decode_boxes, decode_points
from tests.faces.detectors.base import DetectorTests

POINTS = torch.tensor([-2, -2, 2, -2, 0, 0, -1, 2, 1, 2.0])  # offsets of landmarks, in tenths of an anchor

try:
    installed = importlib.util.find_spec("retinaface.network") is not None
except ImportError:
    installed = False
needs_package = pytest.mark.skipif(not installed, reason=f"no retinaface-pytorch: {retinaface.INSTALL}")


class Spots(nn.Module):
    """Stands for the network: sees a face at every white 8 x 8 cell, of the first anchor's size."""

    def __init__(self, name: str, pretrained: bool, in_channels: int, return_layers: dict, out_channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.full((1,), 9.0))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = []
        for stride in (8, 16, 32):
            white = F.avg_pool2d(x.mean(1, keepdim=True), stride, ceil_mode=True)
            sure = (white - 1) * 5 if stride == 8 else torch.full_like(white, -5)
            logits.append(torch.stack([sure, torch.full_like(sure, -5)], -1).flatten(1))  # cells, then two sides
        logits = torch.cat(logits, 1) - self.bias + self.bias.detach()
        batch, anchors = logits.shape
        boxes = torch.zeros(batch, anchors, 4)
        return boxes, torch.stack([torch.zeros_like(logits), logits], -1), POINTS.expand(batch, anchors, 10)


@pytest.fixture
def package(monkeypatch):
    """A package retinaface with the network that sees spots."""
    module = types.ModuleType("retinaface.network")
    module.RetinaFace = Spots
    monkeypatch.setitem(sys.modules, "retinaface", types.ModuleType("retinaface"))
    monkeypatch.setitem(sys.modules, "retinaface.network", module)


@pytest.fixture
def weights(tmp_path):
    torch.save({"bias": torch.zeros(1)}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def spots(height: int, width: int, *cells: tuple[int, int]) -> np.ndarray:
    """A black picture with white 8 x 8 cells (row, column)."""
    picture = np.zeros((height, width, 3), np.uint8)
    for row, column in cells:
        picture[8 * row:8 * row + 8, 8 * column:8 * column + 8] = 255
    return picture


class TestRetinaFace(DetectorTests):
    @pytest.fixture
    def detector(self, package, weights):
        return create_detector("retinaface", path=weights, min_side=1, max_side=256, batch_size=2)

    @pytest.fixture
    def pictures(self):
        return [
            spots(100, 90, (5, 6)), spots(60, 200, (2, 2), (6, 20)), spots(96, 100, (0, 0)), spots(72, 72, (8, 8)),
            spots(128, 128, (15, 15)),
        ]

    def test_faces_lie_where_their_anchors_do(self, detector, pictures):
        found = detector(pictures)
        assert [len(faces) for faces in found] == [1, 2, 1, 1, 1]
        np.testing.assert_allclose(found[0].boxes, [[44, 36, 60, 52]])
        offsets = POINTS.reshape(5, 2).numpy() * 0.1 * 16
        np.testing.assert_allclose(found[0].landmarks[0], offsets + (52, 44), atol=1e-4)
        np.testing.assert_allclose(found[2].boxes, [[0, 0, 12, 12]])
        np.testing.assert_allclose(found[3].boxes, [[60, 60, 72, 72]])

    def test_large_pictures_are_shrunk_and_coordinates_brought_back(self, detector):
        large = np.kron(spots(160, 256, (4, 25)), np.ones((4, 4, 1), np.uint8))
        faces, = detector([large])
        np.testing.assert_allclose(faces.boxes, [[784, 112, 848, 176]])

    def test_small_pictures_are_enlarged(self, package, weights):
        faces, = create_detector("retinaface", path=weights, min_side=192)([spots(192, 192, (9, 9))[::4, ::4]])
        np.testing.assert_allclose(faces.boxes, [[17, 17, 21, 21]])

    def test_batches_are_of_one_shape_and_bounded(self, detector, monkeypatch):
        seen, look = [], detector._look
        monkeypatch.setattr(detector, "_look", lambda p, shape: (seen.append((len(p), shape)), look(p, shape))[1])
        detector([spots(60, 60), spots(100, 100), spots(64, 33), spots(40, 50)])
        assert sorted(seen) == [(1, (64, 64)), (1, (128, 128)), (2, (64, 64))]

    def test_on_a_cpu_pictures_go_one_by_one_unless_told(self, package, weights, monkeypatch):
        detector = create_detector("retinaface", path=weights, min_side=1)
        seen, look = [], detector._look
        monkeypatch.setattr(detector, "_look", lambda p, shape: (seen.append(len(p)), look(p, shape))[1])
        detector([spots(64, 64, (3, 3)), spots(64, 64)])
        assert seen == [1, 1]

    def test_of_overlapping_faces_the_better_is_kept(self, package, weights):
        neighbours = spots(64, 64, (3, 3))
        neighbours[24:32, 32:40] = 235  # half of its box overlaps
        both = create_detector("retinaface", path=weights, min_side=1, nms=0.5)([neighbours])[0]
        one = create_detector("retinaface", path=weights, min_side=1, nms=0.2)([neighbours])[0]
        assert len(both) == 2 and one.boxes.tolist() == [[20, 20, 36, 36]]

    def test_nms_keeps_to_one_picture(self, detector):
        assert [len(f) for f in detector([spots(64, 64, (3, 3)), spots(64, 64, (3, 3))])] == [1, 1]

    def test_the_variable_names_the_weights(self, package, weights, monkeypatch):
        monkeypatch.setenv("FMPN_RETINAFACE", str(weights))
        assert len(create_detector("retinaface")([spots(192, 192, (3, 3))])[0]) == 1

    def test_the_release_is_a_zip(self, package, weights, tmp_path):
        with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
            archive.write(weights, "retinaface.pth")
        assert float(create_detector("retinaface", path=tmp_path / "release.zip").network.bias) == 0


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "retinaface.network", None)
    with pytest.raises(InputError, match=r"pip install --no-deps retinaface-pytorch==0\.0\.8"):
        create_detector("retinaface")


def test_missing_weights_name_the_mends(package, tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth is missing\. Fetch https.*FMPN_RETINAFACE, or go online"):
        create_detector("retinaface", path=tmp_path / "gone.pth")


def test_release_is_fetched_once(package, weights, monkeypatch, tmp_path):
    fetched = []

    def fetch(url, file, progress):
        fetched.append(url)
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(weights, "retinaface.pth")

    monkeypatch.delenv("FMPN_RETINAFACE", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    create_detector("retinaface")
    create_detector("retinaface")
    assert fetched == [retinaface.URL]


def test_offline_names_the_mends(package, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.delenv("FMPN_RETINAFACE", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputError, match=r"GitHub is out of reach\. Fetch https.*FMPN_RETINAFACE"):
        create_detector("retinaface")


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("content", [{"other": torch.zeros(1)}, {"bias": torch.zeros(2)}, [1, 2], Trap(), None])
def test_other_weights_are_refused(package, tmp_path, content):
    if content is None:
        (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 cut short")
    else:
        torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth holds no weights of RetinaFace"):
        create_detector("retinaface", path=tmp_path / "weights.pth")


@needs_package
@pytest.mark.parametrize("shape", [(64, 64), (128, 192), (70, 45)])
def test_anchors_are_the_package_s(shape):
    from retinaface.prior_box import priorbox

    theirs = priorbox([[16, 32], [64, 128], [256, 512]], [8, 16, 32], clip=False, image_size=shape)
    np.testing.assert_allclose(anchors_of(shape), theirs * torch.tensor([shape[1], shape[0]] * 2), rtol=1e-5)


@needs_package
def test_decoding_is_the_package_s():
    from retinaface.box_utils import decode, decode_landm

    anchors = anchors_of((64, 96))
    boxes, points = torch.randn(len(anchors), 4), torch.randn(len(anchors), 10)
    torch.testing.assert_close(decode_boxes(boxes, anchors), decode(boxes, anchors, (0.1, 0.2)))
    ours = decode_points(points.reshape(-1, 5, 2), anchors).flatten(1)
    torch.testing.assert_close(ours, decode_landm(points, anchors, (0.1, 0.2)))


@pytest.mark.slow
@needs_package
def test_random_weights_in_the_package_s_network(tmp_path):
    torch.manual_seed(0)
    torch.save(retinaface._network().state_dict(), tmp_path / "random.pth")
    detector = create_detector("retinaface", path=tmp_path / "random.pth", score=0.5, min_side=1)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((60, 64), (50, 40), (100, 70))]
    found = detector(pictures)
    assert sum(len(faces) for faces in found) > 10
    for picture, faces in zip(pictures, found, strict=True):
        alone, = detector([picture])
        assert abs(len(alone) - len(faces)) <= 1  # a score beside the threshold
        near = np.abs(alone.boxes[:, None] - faces.boxes[None]).max(-1).min(1)
        assert np.quantile(near, 0.9) < 0.01
