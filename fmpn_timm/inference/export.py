"""Export a trained model to one file that runs without this package: ONNX, TorchScript, or PyTorch's exported program.

The file takes aligned faces as they are, RGB in [0, 1]; the model's normalisation is inside. All that a program needs
to cut such faces out of a picture and to read the outputs is one JSON object in the file (``describe``).
"""

import importlib.util
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.transforms.v2 import functional as VF

from fmpn_timm.data.transforms import load_size_of
from fmpn_timm.errors import InputError
from fmpn_timm.files import portable, whole
from fmpn_timm.hub import class_names, load_model, recipe_of, results_of, temperature_of
from fmpn_timm.models import FMPN
from fmpn_timm.terms import terms
from fmpn_timm.version import __version__

from .predictor import default_recipe

__all__ = ["FORMATS", "METADATA", "Exported", "describe", "export"]

#: Under this name the JSON object lies in the file: a metadata property of ONNX, an extra file of the others.
METADATA = "fmpn_timm.json"

TOLERANCE = 1e-4
TRACED, CHECKED = 2, (1, 3)  # faces of a batch
LARGEST_ONNX = 2**31  # bytes; beyond them the weights would lie in a second file


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        metadata: The JSON object in it.
        differences: Largest absolute difference of each output from the model's own, on random faces.
        faces: How many these were.
    """

    path: Path
    metadata: dict[str, Any]
    differences: dict[str, float]
    faces: int


def export(name: str, out: str | Path, format: str = "onnx") -> Exported:
    """Write a trained model to a file, and check that the file says what the model says.

    Input ``faces`` (B, 3, H, W), float32 RGB in [0, 1], any B. Outputs ``logits`` (B, K) and, of FMPN models,
    ``motion_mask`` (B, 1, H, W) in [0, 1]. The file appears under its name only when it was checked, in batches of 1
    and 3 faces.

    Args:
        name: A model, as for ``load_model``.
        out: File to write.
        format: ``onnx``, ``torchscript`` or ``pt2`` (``torch.export``).

    Raises:
        InputError: There is no such model, it names no classes, the format's packages are missing, the model cannot be
            exported, or the file says something else than the model.
    """
    if format not in FORMATS:
        raise InputError(f"--format {format}: give {', '.join(FORMATS)}.")
    out = Path(out)
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out {out}: give a file in a folder that exists.")
    if format == "onnx":
        _need_onnx()
    model = load_model(name).float().eval()
    metadata = describe(name, model)
    network = FromFaces(model).eval()
    if format == "onnx" and sum(t.nbytes for t in network.state_dict().values()) >= LARGEST_ONNX:
        raise InputError(f"{name} is too large for one ONNX file, 2 GB: export it with --format pt2.")
    write, read = FORMATS[format]
    try:
        with whole(out) as partial:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what users cannot change, such as the age of TorchScript
                write(network, _random_faces(metadata, TRACED), metadata, partial)
                differences = _differences(model, metadata, read(partial))
            if not all(difference <= TOLERANCE for difference in differences.values()):
                each = ", ".join(f"{output} {difference:.1e}" for output, difference in differences.items())
                raise InputError(f"{name} as {format} differs from the model by more than {TOLERANCE:.0e} ({each}): "
                                 "nothing was written. Take another --format.")
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}.") from error
    except RuntimeError as error:
        said = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(f"{name} cannot be exported as {format}: {said}. Take another --format.") from error
    return Exported(out, metadata, differences, sum(CHECKED))


def describe(name: str, model: nn.Module) -> dict[str, Any]:
    """All that a program must know to use the exported model.

    Args:
        name: The model's name, as for ``load_model``.
        model: The model.

    Returns:
        A JSON-serialisable dict. ``classes`` are in the order of the logits; ``input`` and ``outputs`` say shapes and
        ranges; ``recipe`` is how a face is cut out of a picture (``Recipe.as_dict``: five landmarks and a hash), and
        ``recipe_recorded`` whether the model asks for it, or it records none and this is the package's default;
        ``load_size`` and ``size`` are what the cut face is resized to and cropped to in the middle, in pixels;
        ``steps`` tells all that in words; ``temperature``; and ``architecture``, ``source``, ``licence``, ``version``.

    Raises:
        InputError: The model names no classes, or takes grey faces.
    """
    cfg, recipe = model.pretrained_cfg, recipe_of(name)
    channels, height, width = cfg["input_size"]
    if channels != 3:
        raise InputError(f"{name} takes faces of {channels} channel(s): only models for RGB faces are exported.")
    load_size = load_size_of(cfg)
    used, temperature = recipe or default_recipe(cfg), temperature_of(name)
    outputs = {"logits": {"shape": ["batch", model.num_classes]}}
    if isinstance(model, FMPN):
        outputs["motion_mask"] = {"shape": ["batch", 1, height, width], "range": [0, 1]}
    grey = " Make it grey by ITU-R 601 (0.299 R + 0.587 G + 0.114 B), in three equal channels." * (used.color == "grey")
    return {
        "architecture": cfg["architecture"],
        "classes": list(class_names(model)),
        "input": {"name": "faces", "shape": ["batch", channels, height, width], "dtype": "float32", "color": "rgb",
                  "range": [0, 1], "normalisation": "inside the model"},
        "outputs": outputs,
        "recipe": used.as_dict(),
        "recipe_recorded": recipe is not None,
        "load_size": load_size,
        "size": width,
        "temperature": temperature,
        "steps": [
            "Find five landmarks of the face in an RGB picture, in pixels (x, y), the middle of the first pixel being "
            "(0, 0): the subject's right eye, left eye, nose tip, right and left corner of the mouth.",
            "Find the rotation, scale and shift that bring them nearest, by least squares with recipe.weights, to "
            "(recipe.reference + recipe.margin) / (1 + 2 recipe.margin) * recipe.size.",
            "Warp the picture by it to recipe.size x recipe.size pixels, repeating the picture's edge, by a cubic "
            "look-up if recipe.interpolation is cubic, else a linear one. If it is area, shrink the picture by that "
            "scale first, by averaging, if the scale is below 0.75." + grey,
            f"Resize to {load_size} x {load_size} (linear, antialiased, along the rows and then along the columns, "
            f"rounding to whole numbers after each), crop {width} x {width} in the middle, divide by 255, order as "
            "(batch, channel, row, column).",
            "Probabilities are softmax(logits / temperature), in the order of classes.",
        ],
        "source": portable(name),
        "licence": terms(results_of(name)),
        "version": f"fmpn-timm {__version__}",
    }


class FromFaces(nn.Module):
    """A model behind its normalisation, with the outputs that the file gives.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(model.pretrained_cfg[name]).view(1, -1, 1, 1))
        self.with_mask = isinstance(model, FMPN)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, ...]:
        faces = (faces - self.mean) / self.std
        if self.with_mask:
            output = self.model.forward_motion(faces)
            return output.logits, output.motion_mask
        return (self.model(faces),)


def _need_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'--format onnx needs {", ".join(missing)}: pip install "fmpn-timm[export]".')


def _random_faces(metadata: dict[str, Any], batch: int) -> torch.Tensor:
    """Coarse ones: networks say the same of all fine noise, and a comparison of that would show little."""
    coarse = torch.rand(batch, 3, 6, 6, generator=torch.Generator().manual_seed(batch))
    return nn.functional.interpolate(coarse, metadata["input"]["shape"][2:], mode="bilinear")


def _differences(
        model: nn.Module,
        metadata: dict[str, Any],
        run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
) -> dict[str, float]:
    """How far the file's outputs are at most from those of the model, with the normalisation it was trained with."""
    worst = dict.fromkeys(metadata["outputs"], 0.0)
    for batch in CHECKED:
        faces = _random_faces(metadata, batch)
        normal = VF.normalize(faces, list(model.pretrained_cfg["mean"]), list(model.pretrained_cfg["std"]))
        expected = (model(normal),) if len(worst) == 1 else (model(normal), model.motion_mask(normal))
        for name, ours, theirs in zip(worst, run(faces), expected, strict=True):
            same = ours.shape == theirs.shape
            difference = float((ours - theirs).abs().max()) if same else float("inf")
            worst[name] = difference if difference != difference else max(worst[name], difference)  # not a number stays
    return worst


def _program(network: nn.Module, faces: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(network, (faces,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def _write_onnx(network: nn.Module, faces: torch.Tensor, metadata: dict[str, Any], path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    written = torch.onnx.export(
        _program(network, faces), dynamo=True, verbose=False, input_names=["faces"],
        output_names=list(metadata["outputs"]),
    )
    ClearMetadataAndDocStringPass()(written.model)  # line numbers and folders of this machine
    written.model.metadata_props[METADATA] = json.dumps(metadata)
    written.save(str(path), external_data=False)


def _read_onnx(path: Path) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no base class of their own
        raise RuntimeError(f"onnxruntime does not take it: {error}") from error

    def run(faces: torch.Tensor) -> tuple[torch.Tensor, ...]:
        try:
            return tuple(torch.from_numpy(o) for o in session.run(None, {"faces": faces.numpy()}))
        except Exception as error:
            raise RuntimeError(f"onnxruntime cannot run it on {len(faces)} faces: {error}") from error

    return run


def _write_torchscript(network: nn.Module, faces: torch.Tensor, metadata: dict[str, Any], path: Path) -> None:
    # Traced, as TorchScript's compiler does not take all of our models; the check at other batch sizes guards it.
    traced = torch.jit.trace(network, faces, check_trace=False)
    with open(path, "wb") as file:
        torch.jit.save(traced, file, _extra_files={METADATA: json.dumps(metadata)})


def _read_torchscript(path: Path) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    return torch.jit.load(str(path), map_location="cpu")


def _write_pt2(network: nn.Module, faces: torch.Tensor, metadata: dict[str, Any], path: Path) -> None:
    program = _program(network, faces)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # folders of this machine
    with open(path, "wb") as file:
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})


def _read_pt2(path: Path) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    with open(path, "rb") as file:
        return torch.export.load(file).module()


#: How each format is written, and read back to be checked.
FORMATS = {
    "onnx": (_write_onnx, _read_onnx),
    "torchscript": (_write_torchscript, _read_torchscript),
    "pt2": (_write_pt2, _read_pt2),
}
