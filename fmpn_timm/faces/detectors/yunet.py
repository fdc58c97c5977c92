"""YuNet, a small and quick face detector with five landmarks, as OpenCV runs it.

Wu, Peng, Yu, `YuNet: A Tiny Millisecond-level Face Detector`, Machine Intelligence Research 2023. The weights are those
of the OpenCV Zoo (MIT).
"""

import os
import socket
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies

import cv2
import numpy as np
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

from fmpn_timm.errors import InputError

from .base import Faces, OpenCVDetector, quiet_opencv, resize_for_detection, scale_back

__all__ = ["YuNet"]

REPOSITORY, FILE, VARIABLE = "opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx", "FMPN_YUNET"
MEND = f"Go online once to fetch {FILE} from huggingface.co/{REPOSITORY}, or name a copy of it by path= or {VARIABLE}."

CLOSE_UP = 320  # YuNet knows faces of 10 to 300 pixels, says the OpenCV Zoo


class YuNet(OpenCVDetector):
    """Finds faces with YuNet.

    Args:
        path: Its ONNX file; if None the one that the environment variable ``FMPN_YUNET`` names, else the Hub's.
        score: Faces with a lower score are left out.
        min_side: A picture whose longest side is shorter is enlarged to it, in pixels. Of 300 faces of 48 x 48 pixels
            (FERPlus) 99 % are found at 192, 75 % as they are.
        max_side: A picture whose longest side is longer is shrunk to it.
        nms: Of two faces whose boxes overlap more than this (intersection over union) the better is kept.

    Raises:
        InputError: The file is missing, cannot be fetched, or is not YuNet.
    """

    def __init__(
            self,
            path: str | Path | None = None,
            score: float = 0.7,
            min_side: int = 192,
            max_side: int = 1024,
            nms: float = 0.3,
    ):
        super().__init__()
        self.path = _model_file(path)
        self.score, self.min_side, self.max_side, self.nms = score, min_side, max_side, nms
        self._look(np.zeros((32, 32, 3), np.uint8))  # a wrong file is told now, not by the first worker

    def _detect(self, picture: np.ndarray) -> Faces:
        resized = resize_for_detection(picture, self.min_side, self.max_side)
        found = self._look(resized)
        boxes, landmarks, scores = _in_picture(found, resized, picture)
        if max(resized.shape) > CLOSE_UP and not 0 < found[:, 2:4].max(initial=0) <= CLOSE_UP:
            # none, or a face that fills a large picture, which is surer, if it is one, in a small copy
            resized = resize_for_detection(picture, 1, CLOSE_UP)
            small = _in_picture(self._look(resized), resized, picture)
            both = zip((boxes, landmarks, scores), small, strict=True)
            boxes, landmarks, scores = _surest(*(np.concatenate(pair) for pair in both), self.nms)
        return Faces.in_picture(boxes, landmarks, scores, picture.shape)

    def _look(self, picture: np.ndarray) -> np.ndarray:
        """(N, 15): box as x y width height, five landmarks, score."""
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        try:
            if not hasattr(self._of_thread, "network"):
                with quiet_opencv():
                    self._of_thread.network = cv2.FaceDetectorYN.create(
                        self.path, "", (32, 32), self.score, self.nms, top_k=5000
                    )
            network = self._of_thread.network
            network.setInputSize((picture.shape[1], picture.shape[0]))
            found = network.detect(picture)[1]
        except cv2.error as error:
            raise InputError(f"{self.path} holds no YuNet that OpenCV {cv2.__version__} can run. {MEND}") from error
        return np.zeros((0, 15), np.float32) if found is None else found


def _in_picture(
        found: np.ndarray,
        resized: np.ndarray,
        picture: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (N, 4) as x1 y1 x2 y2, landmarks (N, 5, 2) and scores (N,) in the picture of what was found in a copy."""
    boxes = np.hstack([found[:, :2], found[:, :2] + found[:, 2:4]])
    return *scale_back(boxes, found[:, 4:14].reshape(-1, 5, 2), resized.shape, picture.shape), found[:, 14]


def _surest(
        boxes: np.ndarray,
        landmarks: np.ndarray,
        scores: np.ndarray,
        nms: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of faces that overlap the surest."""
    corner_and_size = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = list(cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), 0.0, nms))
    return boxes[kept], landmarks[kept], scores[kept]


def _model_file(path: str | Path | None) -> str:
    given = path or os.environ.get(VARIABLE)
    if given:
        if not Path(given).is_file():
            raise InputError(f"{given} is missing. {MEND}")
        return str(given)
    cached = try_to_load_from_cache(REPOSITORY, FILE)
    if isinstance(cached, str):
        return cached
    try:
        if not getproxies():  # without a network a name is not found at once; the Hub would be tried for half a minute
            socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, None)
        return hf_hub_download(REPOSITORY, FILE)
    except OSError as error:  # every error of the Hub and of the network is one
        raise InputError(f"YuNet's file is not in the cache and the Hub is out of reach. {MEND}") from error
