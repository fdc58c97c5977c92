"""Tests of exported files: what they say of faces, and of themselves."""

import json
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from fmpn_timm import cli, hub
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.files import write_json
from fmpn_timm.inference import export as module
from fmpn_timm.inference.export import METADATA, export

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # TorchScript's

CLASSES = ("fear", "anger", "neutral")
TINY = {
    "fmpn": dict(backbone="test_resnet", generator_width=4, generator_blocks=1),
    "test_resnet": {},
    "derl": dict(img_size=32, width=4, local_width=4),
    "fn2en": {},
    "msca": dict(backbone="test_resnet", branch_width=4, embed_dim=8),
}
RECIPE = Recipe(size=40, margin=0.1)


def save(folder: Path, name: str = "fmpn", **options) -> str:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3, **TINY[name])
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight)
    for _ in range(5):
        model(faces(8))  # batch norm statistics of faces
    hub.save_model(model, folder, CLASSES, 32, 0.8, recipe=RECIPE, **options)
    return f"local-dir:{folder}"


def faces(batch: int) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    return nn.functional.interpolate(coarse, (32, 32), mode="bilinear")


def read(path: Path, format: str):
    """The metadata of a file and a function that runs it, by nothing of ours."""
    if format == "torchscript":
        extra = {METADATA: ""}
        return torch.jit.load(str(path), _extra_files=extra), json.loads(extra[METADATA])
    if format == "pt2":
        extra = {METADATA: ""}
        return torch.export.load(path, extra_files=extra).module(), json.loads(extra[METADATA])
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    return lambda x: [torch.from_numpy(o) for o in session.run(list(about["outputs"]), {"faces": x.numpy()})], about


def contents(path: Path) -> str:
    if not zipfile.is_zipfile(path):
        return path.read_text("latin-1")
    with zipfile.ZipFile(path) as archive:
        return "".join(archive.read(entry).decode("latin-1") for entry in archive.namelist())


@pytest.mark.parametrize("format", ["onnx", "torchscript", "pt2"])
@torch.inference_mode()
def test_file_says_what_the_model_says(tmp_path, format):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    name, out = save(tmp_path / "m"), tmp_path / f"file.{format}"
    exported = export(name, out, format)
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, "m"]
    run, about = read(out, format)
    model = hub.load_model(name).eval()
    for batch in (1, 5):
        logits, mask = run(faces(batch))
        torch.testing.assert_close(logits, model(faces(batch)), rtol=0, atol=1e-4)
        torch.testing.assert_close(mask, model.motion_mask(faces(batch)), rtol=0, atol=1e-4)
    logits, mask = run(faces(2))
    assert (logits[0] - logits[1]).abs().max() > 0.01 and mask.std() > 0.01  # else the comparisons could not fail
    assert about == exported.metadata and set(exported.differences) == {"logits", "motion_mask"}
    if format != "torchscript":  # which keeps where each line of its code was
        assert not [folder for folder in (tmp_path, Path(__file__).parents[2]) if str(folder) in contents(out)]


@pytest.mark.parametrize("name", ["test_resnet", "derl", "fn2en", "msca"])
@torch.inference_mode()
def test_every_system_takes_faces_that_are_not_normalised(tmp_path, name):
    """ONNX and torch.export of them are tested beside each model."""
    folder = save(tmp_path / "m", name)
    export(folder, tmp_path / "file", "torchscript")
    run, about = read(tmp_path / "file", "torchscript")
    model = hub.load_model(folder).eval()
    mean, std = (torch.tensor(model.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    logits, = run(faces(3))
    torch.testing.assert_close(logits, model((faces(3) - mean) / std), rtol=0, atol=1e-4)
    assert list(about["outputs"]) == ["logits"]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "pt2"])
@pytest.mark.parametrize("name", ["test_resnet", "derl", "fn2en", "msca"])
def test_every_system_in_every_format(tmp_path, name, format):
    if format == "onnx":
        pytest.importorskip("onnxscript")
    assert export(save(tmp_path / "m", name), tmp_path / "file", format).differences["logits"] <= 1e-4


def test_file_describes_itself(tmp_path):
    name = save(tmp_path / "m", files={"results.json": {"data": {"dataset": "jaffe"}}})
    config = hub.read_config(tmp_path / "m" / "config.json")
    write_json(tmp_path / "m" / "config.json", {**config, "temperature": 1.5})
    about = module.describe(name, hub.load_model(name))
    assert about["classes"] == list(CLASSES) and about["architecture"] == "fmpn"
    assert Recipe.from_dict(about["recipe"]) == RECIPE and about["recipe_recorded"] is True
    assert (about["size"], about["load_size"], about["temperature"]) == (32, 40, 1.5)
    assert about["input"]["shape"] == ["batch", 3, 32, 32] and about["input"]["range"] == [0, 1]
    assert "JAFFE" in about["licence"] and "research" in about["licence"] and "fmpn-timm" in about["version"]
    assert about["source"] == "local-dir:FOLDER"


def test_model_without_a_recipe_gets_the_default_and_says_so(tmp_path):
    folder = tmp_path / "m"
    name = save(folder, "test_resnet")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "recipe": None}))
    about = module.describe(name, hub.load_model(name))
    assert about["recipe_recorded"] is False and Recipe.from_dict(about["recipe"]) == Recipe(size=40)


def test_a_file_that_says_something_else_is_refused_and_the_old_one_stays(tmp_path, monkeypatch):
    name, out = save(tmp_path / "m"), tmp_path / "file"
    out.write_text("old")

    class Off(module.FromFaces):
        def forward(self, x):
            logits, mask = super().forward(x)
            return logits, mask + 1e-3

    monkeypatch.setattr(module, "FromFaces", Off)
    with pytest.raises(InputError, match="differs from the model by more than 1e-04 .*motion_mask 1.0e-03.*nothing"):
        export(name, out, "torchscript")
    assert out.read_text() == "old" and sorted(p.name for p in tmp_path.iterdir()) == ["file", "m"]


def test_outputs_that_are_no_numbers_are_refused(tmp_path, monkeypatch):
    class Nan(module.FromFaces):
        def forward(self, x):
            return tuple(o * torch.nan for o in super().forward(x))

    monkeypatch.setattr(module, "FromFaces", Nan)
    with pytest.raises(InputError, match="nan"):
        export(save(tmp_path / "m"), tmp_path / "file", "torchscript")


def test_what_cannot_be_exported_is_one_line(tmp_path, monkeypatch):
    class Fixed(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            raise RuntimeError("no such operator\nand a long story")

    monkeypatch.setattr(module, "FromFaces", Fixed)
    with pytest.raises(InputError, match="cannot be exported as torchscript: no such operator") as error:
        export(save(tmp_path / "m"), tmp_path / "file", "torchscript")
    assert "\n" not in str(error.value) and not (tmp_path / "file").exists()


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(InputError, match=r'needs onnxruntime: pip install "fmpn-timm\[export\]"'):
        export(save(tmp_path / "m"), tmp_path / "file.onnx")


@pytest.mark.parametrize(("model", "out", "message"), [
    ("local-dir:/nowhere", "file", "/nowhere holds no config.json"),
    ("test_resnet", "nowhere/file", "--out .*give a file in a folder that exists"),
    ("test_resnet", "", "--out .*give a file"),
])
def test_bad_input(tmp_path, model, out, message):
    with pytest.raises(InputError, match=message):
        export(model, tmp_path / out, "torchscript")


def test_command(tmp_path, capsys):
    cli.main(["export", save(tmp_path / "m"), "--format", "torchscript", "--out", str(tmp_path / "m.pt")])
    text = capsys.readouterr().out
    assert "classes fear, anger, neutral" in text and "on 4 random faces" in text and "motion_mask: at most" in text


def test_a_model_too_large_for_one_onnx_file_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(module, "LARGEST_ONNX", 1000)
    with pytest.raises(InputError, match="too large for one ONNX file.*--format pt2"):
        export(save(tmp_path / "m"), tmp_path / "file.onnx")
