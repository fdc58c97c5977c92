"""RetinaFace with a ResNet-50: slower than YuNet, and better on small and turned faces.

Deng et al., `RetinaFace: Single-shot Multi-level Face Localisation in the Wild`, CVPR 2020. Network and weights (MIT)
are those of the package retinaface-pytorch, whose pins no environment of today can meet: it is installed without them.
Only its network is used; anchors, decoding and batching are here.
"""

import io
import os
import pickle
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.ops import batched_nms

from fmpn_timm.errors import InputError

from .base import Faces, resize_for_detection, scale_back

__all__ = ["RetinaFace"]

URL = "https://github.com/ternaus/retinaface/releases/download/0.01/retinaface_resnet50_2020-07-20-f168fae3c.zip"
VARIABLE = "FMPN_RETINAFACE"
INSTALL = "pip install --no-deps retinaface-pytorch==0.0.8"
MEND = f"Fetch {URL} and name it by path= or {VARIABLE}, or go online once."

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride of the feature map: sides of its anchors, in pixels
VARIANCES = 0.1, 0.2
GRID = 64  # pictures are padded to multiples of it: few shapes, so that most pictures find others for a batch


class RetinaFace:
    """Finds faces with RetinaFace.

    Args:
        path: File of weights, a state dict or the zip of one; if None the file that the environment variable
            ``FMPN_RETINAFACE`` names, else the one of the package's release.
        score: Faces with a lower score are left out.
        min_side: A picture whose longest side is shorter is enlarged to it, in pixels.
        max_side: A picture whose longest side is longer is shrunk to it.
        nms: Of two faces whose boxes overlap more than this (intersection over union) the better is kept.
        batch_size: Most pictures that go through the network at once; if None 1 on a CPU, where several at
            once are slower (`benchmarks/detection.json`), and 8 elsewhere.
        device: Where the network runs.

    Raises:
        InputError: The package is not installed, or the weights are missing, cannot be fetched, or are others.
    """

    def __init__(
            self,
            path: str | Path | None = None,
            score: float = 0.7,
            min_side: int = 192,
            max_side: int = 960,
            nms: float = 0.4,
            batch_size: int | None = None,
            device: str = "cpu",
    ):
        self.score, self.min_side, self.max_side, self.nms = score, min_side, max_side, nms
        self.batch_size, self.device = batch_size or (1 if torch.device(device).type == "cpu" else 8), device
        self.network = _network()
        path = _weights_file(path)
        try:
            self.network.load_state_dict(_read_weights(path))
        except (OSError, RuntimeError, ValueError, EOFError, TypeError, pickle.UnpicklingError,
                zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} holds no weights of RetinaFace with a ResNet-50, or only a part of them. {MEND}"
            ) from error
        self.network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Faces]:
        # Padding follows from a picture's own shape, so its faces do not depend on who shares the batch.
        resized = [resize_for_detection(picture, self.min_side, self.max_side) for picture in pictures]
        of_shape = defaultdict(list)
        for i, picture in enumerate(resized):
            of_shape[tuple(-(-s // GRID) * GRID for s in picture.shape[:2])].append(i)
        faces = [None] * len(pictures)
        for shape, members in of_shape.items():
            for start in range(0, len(members), self.batch_size):
                batch = members[start:start + self.batch_size]
                found = self._look([resized[i] for i in batch], shape)
                for i, (boxes, landmarks, scores) in zip(batch, found, strict=True):
                    boxes, landmarks = scale_back(boxes, landmarks, resized[i].shape, pictures[i].shape)
                    faces[i] = Faces.in_picture(boxes, landmarks, scores, pictures[i].shape)
        return faces

    @torch.inference_mode()
    def _look(self, pictures: list[np.ndarray], shape: tuple[int, int]) -> list[tuple[np.ndarray, ...]]:
        """Boxes (N, 4), landmarks (N, 5, 2) and scores (N,) of each picture, all padded to one shape."""
        padded = torch.zeros(len(pictures), 3, *shape)  # with the mean colour
        for row, picture in zip(padded, pictures, strict=True):
            normal = (torch.from_numpy(picture) / 255 - MEAN) / STD
            row[:, :picture.shape[0], :picture.shape[1]] = normal.permute(2, 0, 1)
        padded = padded.to(self.device, memory_format=torch.channels_last)
        boxes, logits, landmarks = self.network(padded)  # (B, A, 4), (B, A, 2), (B, A, 10)
        scores = logits.softmax(-1)[..., 1]
        which, anchor = (scores > self.score).nonzero(as_tuple=True)
        anchors = anchors_of(shape).to(self.device)[anchor]
        boxes = decode_boxes(boxes[which, anchor], anchors)
        landmarks = decode_points(landmarks[which, anchor].reshape(-1, 5, 2), anchors)
        scores = scores[which, anchor]
        keep = batched_nms(boxes, scores, which, self.nms)
        found = [(boxes[k], landmarks[k], scores[k]) for k in (keep[which[keep] == i] for i in range(len(pictures)))]
        return [tuple(values.cpu().numpy() for values in face) for face in found]


@lru_cache(maxsize=64)
def anchors_of(shape: tuple[int, int]) -> torch.Tensor:
    """The anchors (A, 4) of a picture of some height and width: x and y of the middle, width, height, in pixels."""
    levels = []
    for stride, sides in ANCHORS.items():
        y, x = ((torch.arange(-(-s // stride)) + 0.5) * stride for s in shape)
        y, x, side = torch.meshgrid(y, x, torch.tensor(sides, dtype=torch.float32), indexing="ij")
        levels.append(torch.stack([x, y, side, side], -1).reshape(-1, 4))
    return torch.cat(levels)


def decode_points(offsets: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Points (N, K, 2) in pixels from the network's offsets (N, K, 2) to anchors (N, 4)."""
    return anchors[:, None, :2] + VARIANCES[0] * offsets * anchors[:, None, 2:]


def decode_boxes(offsets: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Boxes (N, 4), x1 y1 x2 y2 in pixels, from the network's offsets (N, 4) to anchors (N, 4)."""
    centre = decode_points(offsets[:, None, :2], anchors)[:, 0]
    half = anchors[:, 2:] * torch.exp(VARIANCES[1] * offsets[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], 1)


def _network() -> nn.Module:
    try:
        from retinaface.network import RetinaFace as Network  # the module that does not ask for albumentations
    except ImportError as error:
        raise InputError(f"Detector retinaface needs the package retinaface-pytorch: {INSTALL}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torchvision, about the package's old spelling
        return Network("Resnet50", False, 256, {"layer2": 1, "layer3": 2, "layer4": 3}, 256)


def _weights_file(path: str | Path | None) -> Path:
    given = path or os.environ.get(VARIABLE)
    if given:
        if not Path(given).is_file():
            raise InputError(f"{given} is missing. {MEND}")
        return Path(given)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if not cached.is_file():
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL, str(cached), progress=False)
        except OSError as error:  # every error of urllib is one
            raise InputError(f"RetinaFace's weights are not in the cache and GitHub is out of reach. {MEND}") from error
    return cached


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict as torch saves it, or the release's zip with such a file in it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if len(archive.namelist()) == 1:  # torch's own files are archives too, of several
                inside = io.BytesIO(archive.read(archive.namelist()[0]))
                return torch.load(inside, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True)
