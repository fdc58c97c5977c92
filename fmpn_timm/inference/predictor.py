"""From pictures to predictions: find and align the faces as the model's recipe says, and ask the model, in batches."""

import itertools
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors

from fmpn_timm.data.transforms import load_size_of, model_transform
from fmpn_timm.errors import InputError
from fmpn_timm.faces import AlignedFace, AlignedFaces, Detector, FaceAligner, Recipe, create_detector
from fmpn_timm.faces.detectors.yunet import VARIABLE as YUNET_FILE
from fmpn_timm.hub import class_names, load_model, recipe_of, temperature_of
from fmpn_timm.models import FMPN

from .pictures import Unreadable, as_picture, lit_up
from .results import FacePrediction, PicturePrediction, face_quality, label_of
from .sources import Frame
from .tracks import MIN_OVERLAP, overlaps

__all__ = ["DEFAULT_MODEL", "Predictor", "default_recipe"]

#: The model that is taken where none is named.
DEFAULT_MODEL = "fmpn_lite_resnet18_small.ferplus"

ONE = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, np.ndarray, torch.Tensor)
#: Score of a picture's surest face below which the picture is looked at turned too, and by how much what that shows
#: must be surer. YuNet gives upright faces of photos some 0.95; of those that lie or stand on their heads it gives
#: landmarks as if they were upright, and 0.74 to 0.91.
SURE, SURER = 0.92, 0.03
#: Pictures whose faces are collected until they fill a batch; of pictures that are kept, also their pixels.
WAITING, WAITING_PIXELS = 64, 48_000_000


class Predictor:
    """Says what faces in pictures express.

    Called with one picture it returns a ``PicturePrediction``, with a list (or any iterable but an array or tensor) a
    list of them in the same order. A picture is a path, an open picture file or its bytes, a Pillow image, a NumPy
    array (uint8, **RGB** (H, W, 3) or grey (H, W)) or a tensor (RGB (3, H, W), uint8, or floating point in [0, 1]). A
    file that cannot be read gives a prediction without faces whose ``reason`` begins with "cannot be read"; the rest
    goes on. What is nearly black is lit up for the detector and the model, and faces that lie on their side or stand on
    their heads are set upright for them, unless one in the picture is upright and sharp. Several threads may call one
    predictor: detectors bear that, and a lock keeps the model to one batch at a time. It pickles.

    The detector looks at a copy of the picture (YuNet: longest side at most 1,024 pixels), and the face is cut from the
    picture itself. Faces of less than some 10 pixels in that copy are missed; where small faces in large pictures
    matter more than time, give ``detector=create_detector("yunet", max_side=4096)``. YuNet's file comes from the Hub or
    from ``FMPN_YUNET``; where it cannot be had, MTCNN takes its place and a warning says so.

    Args:
        model: A timm name with weights, ``hf-hub:owner/name`` or ``local-dir:folder``.
        device: Where the model runs, such as ``cuda:1``; if None an accelerator if there is one, else the CPU.
        detector: A detector or its name; the recipe's if None.
        faces: ``all`` faces of a picture, or the ``largest``.
        missing: What a picture without a face gives: ``skip`` no face, ``center`` its middle.
        batch_size: Faces that the model sees at once.
        flip: Average each face and its mirror image.
        abstain: Probability below which a face is called ``uncertain``; None to always name the most likely class.
        recipe: How faces are cut, in place of what the model's config.json says.
        mask: Keep the motion masks of models that have them.

    Attributes:
        classes: Class names in the order of the logits.
        recipe: How faces are cut.
        temperature: What logits are divided by, from the model's config.json.
        abstain: As given.
        masks: Whether faces come with motion masks.

    Raises:
        InputError: The model or the detector cannot be had, or an option is out of range.
    """

    def __init__(
            self,
            model: str | os.PathLike = DEFAULT_MODEL,
            device: str | torch.device | None = None,
            detector: str | Detector | None = None,
            faces: str = "all",
            missing: str = "skip",
            batch_size: int = 32,
            flip: bool = True,
            abstain: float | None = None,
            recipe: Recipe | None = None,
            mask: bool = True,
    ):
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise InputError(f"batch_size: give a whole number, at least 1, not {batch_size}.")
        if abstain is not None and not (isinstance(abstain, Real) and 0 <= abstain <= 1):
            raise InputError(f"abstain: give a probability between 0 and 1, not {abstain}.")
        if not isinstance(model, (str, os.PathLike)):
            raise InputError("model: give a timm name with weights, hf-hub:owner/name or local-dir:folder, not "
                             f"{type(model).__name__}. fmpn_timm.hub.save_model writes a model to a folder.")
        model = os.fspath(model)
        self.device = _device(device)
        self.model = load_model(model).eval().to(self.device)
        self.classes = class_names(self.model)
        self.temperature = temperature_of(model)
        self.batch_size, self.flip, self.abstain = batch_size, flip, abstain
        self.masks = mask and isinstance(self.model, FMPN)
        cfg = self.model.pretrained_cfg
        self._transform, self._crop_pct = model_transform(cfg), cfg["crop_pct"]
        self.recipe = _recipe(model, cfg, recipe or recipe_of(model), detector)
        if detector is None or isinstance(detector, str):
            detector = _create_detector(self.recipe.detector)
        self._aligner = FaceAligner(self.recipe, detector, faces, missing)
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __call__(self, pictures: Any) -> PicturePrediction | list[PicturePrediction]:
        if isinstance(pictures, ONE) or hasattr(pictures, "read") or not isinstance(pictures, Iterable):
            return next(self._predictions([pictures]))
        return list(self._predictions(pictures))

    def stream(
            self,
            frames: Iterable[Frame],
            keep: bool = False,
            wait: int = WAITING,
    ) -> Iterator[tuple[PicturePrediction, np.ndarray | None]]:
        """Predict as pictures come, in bounded memory.

        Args:
            frames: The pictures.
            keep: Hand out the pictures as well.
            wait: How many pictures may be looked at before the first prediction comes; 1 for a camera.

        Yields:
            The prediction of each frame, in order, and its picture, RGB uint8 (H, W, 3), if it is kept.
        """
        waiting, faces, pixels = [], 0, 0
        for frame in frames:
            prediction, found = self._find(frame)
            waiting.append((prediction, found, frame.picture if keep else None))
            faces += len(found)
            pixels += prediction.size[0] * prediction.size[1] if keep else 0
            if faces >= self.batch_size or len(waiting) >= wait or pixels >= WAITING_PIXELS:
                yield from self._answer(waiting)
                waiting, faces, pixels = [], 0, 0
        yield from self._answer(waiting)

    def _predictions(self, pictures: Iterable[Any]) -> Iterator[PicturePrediction]:
        return (prediction for prediction, _ in self.stream(map(_frame, itertools.count(), pictures)))

    def _find(self, frame: Frame) -> tuple[PicturePrediction, AlignedFaces]:
        """The faces of a picture, and a prediction that still lacks them."""
        problem = frame.reason
        if frame.picture is not None:
            try:
                found = self._align(frame.picture) if frame.number is not None else self._upright(frame.picture)
            except (cv2.error, MemoryError) as error:  # one odd picture must not end a run over many
                problem = str(error).strip().partition("\n")[0] or "out of memory"
        if problem:
            reason = f"cannot be read: {problem}"
            return PicturePrediction(frame.name, (0, 0), (), reason, frame.time, False, frame.number), AlignedFaces()
        height, width = frame.picture.shape[:2]
        return PicturePrediction(frame.name, (width, height), (), found.reason, frame.time, True, frame.number), found

    def _upright(self, picture: np.ndarray) -> AlignedFaces:
        """The faces of a picture, and of the picture turned by quarters, where that shows a surer face."""
        found = self._align(picture)
        if found.surest >= SURE:
            return found
        faces = [face for face in found if not face.centered]
        for quarters in (1, 2, 3):
            turned = self._align(np.ascontiguousarray(np.rot90(picture, quarters)))
            if turned.surest <= found.surest + SURER:  # in clutter there are always some that look like faces
                continue
            for face in turned:
                face = face.turned_back(quarters, picture.shape[:2])
                same = [other for other in faces if overlaps(face.box[None], other.box[None], 0) >= MIN_OVERLAP]
                if face.score > max((other.score + SURER for other in same), default=0):
                    faces = [other for other in faces if other not in same] + [face]
        if not faces:
            return found
        faces.sort(key=lambda face: -np.prod(face.box[2:] - face.box[:2]))
        return AlignedFaces(faces[:1] if self._aligner.policy == "largest" else faces)

    def _align(self, picture: np.ndarray) -> AlignedFaces:
        """The faces of a picture; where none is found in a dark one, those of the picture lit up."""
        found, = self._aligner([picture])
        if not all(face.centered for face in found):
            return found
        lit = lit_up(picture)
        if lit is picture:
            return found
        again, = self._aligner([lit])
        return found if all(face.centered for face in again) else again

    def _answer(
            self,
            waiting: Sequence[tuple[PicturePrediction, AlignedFaces, np.ndarray | None]],
    ) -> Iterator[tuple[PicturePrediction, np.ndarray | None]]:
        answers = self._classify([face.image for _, found, _ in waiting for face in found])
        for prediction, found, picture in waiting:
            faces = tuple(self._face(face, *next(answers), prediction.size) for face in found)
            yield replace(prediction, faces=faces), picture

    def _classify(self, images: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Probabilities (K,) and motion mask of each aligned face, the mask as large as the model's input."""
        for start in range(0, len(images), self.batch_size):
            faces = torch.stack([self._tensor(image) for image in images[start:start + self.batch_size]])
            with self._lock, torch.inference_mode():
                logits, masks = self._forward(faces.to(self.device))
                probabilities = (logits.cpu().double() / self.temperature).softmax(1).numpy()  # MPS knows no double
                masks = [None] * len(faces) if masks is None else masks[:, 0].float().cpu().numpy()
            yield from zip(probabilities, masks, strict=True)

    def _tensor(self, image: np.ndarray) -> torch.Tensor:
        face = self._transform(tv_tensors.Image(torch.from_numpy(lit_up(image)).permute(2, 0, 1)))
        return face.as_subclass(torch.Tensor)

    def _forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.masks:
            logits, masks, _ = self.model.forward_motion(faces)
        else:
            logits, masks = self.model(faces), None
        if self.flip:
            logits = (logits + self.model(faces.flip(-1))) / 2
        return logits, masks

    def _face(
            self,
            face: AlignedFace,
            probabilities: np.ndarray,
            mask: np.ndarray | None,
            size: tuple[int, int],
    ) -> FacePrediction:
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return FacePrediction(
            box=face.box,
            landmarks=face.landmarks,
            score=face.score,
            label=label_of(named, self.abstain),
            probabilities=named,
            quality=face_quality(face.image, face.box, face.landmarks, face.score),
            face=face.image,
            motion_mask=None if mask is None else _whole_face(mask, self._crop_pct, face.image.shape[0]),
            matrix=_of_box(face) if face.landmarks is None else self.recipe.matrix(face.landmarks),
            picture_size=size,
        )


def default_recipe(cfg: dict[str, Any]) -> Recipe:
    """How faces are cut for a model that does not say: by the default, at the size its ``pretrained_cfg`` asks for."""
    return Recipe(size=max(load_size_of(cfg), 8))


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        if not torch.accelerator.is_available():
            return torch.device("cpu")
        rank = int(os.environ.get("LOCAL_RANK", 0))  # processes that share the work share the devices
        device = f"{torch.accelerator.current_accelerator().type}:{rank % torch.accelerator.device_count()}"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).splitlines()[0].partition(". ")[0].rstrip(".")  # PyTorch goes on with lists of backends
        raise InputError(f"device {device}: {said}. Give another, such as cpu.") from error


def _recipe(model: str, cfg: dict[str, Any], recipe: Recipe | None, detector: str | Detector | None) -> Recipe:
    """How faces are cut; what had to be guessed is said in a warning."""
    if recipe is None:
        recipe = default_recipe(cfg)
        warnings.warn(f"{model} names no recipe: its faces are cut by the default one, which may not be how those it "
                      "was trained on were cut.", stacklevel=3)
    if isinstance(detector, str):
        return replace(recipe, detector=detector)
    if recipe.detector == "dataset" and detector is None:
        warnings.warn(f"{model} was trained on faces cut by their data set's own landmarks: here "
                      f"{recipe.photo_detector} finds them.", stacklevel=3)
    return replace(recipe, detector=recipe.photo_detector)


def _create_detector(name: str) -> Detector:
    """The detector; MTCNN, whose weights need no download, where YuNet's cannot be had."""
    try:
        return create_detector(name)
    except InputError as error:
        if name != "yunet" or os.environ.get(YUNET_FILE):  # a file that was named is wrong
            raise
        warnings.warn(f"{error} Until then MTCNN finds the faces: slower, with landmarks that are less exact, and "
                      "turned photos may stay turned.", stacklevel=3)
        return create_detector("mtcnn")


def _frame(number: int, picture: Any) -> Frame:
    name = os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else f"picture {number}"
    try:
        return Frame(name, picture=as_picture(picture))
    except Unreadable as error:
        return Frame(name, reason=str(error))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _whole_face(mask: np.ndarray, crop_pct: float, size: int) -> np.ndarray:
    """The mask of the middle of a face, which is what the model sees, in the pixels of the whole face."""
    side = len(mask)
    around = round(side / crop_pct) - side
    before = round(around / 2)
    mask = np.pad(mask, (before, around - before))
    if len(mask) == size:
        return mask
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if size < len(mask) else cv2.INTER_LINEAR)


def _of_box(face: AlignedFace) -> np.ndarray:
    """What brings pixels of the picture to those of a face that was cut from its middle."""
    ratio = len(face.image) / (face.box[2] - face.box[0])
    x, y = (float(0.5 - first) * ratio - 0.5 for first in face.box[:2])
    return np.array([[ratio, 0, x], [0, ratio, y]])
