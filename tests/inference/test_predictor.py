"""Tests of the predictor, with a tiny model and a detector that knows where the faces are."""

import dataclasses
import io
import json
import os
import pickle
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import fmpn_timm
from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.transforms import eval_transform
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe
from fmpn_timm.inference import Predictor
from fmpn_timm.inference.sources import Frame
from tests.faces.marked import Marked, marked
from tests.inference.conftest import RECIPE, save_tiny


@pytest.fixture
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    found = [marked((5, 5, 30), (60, 20, 70)), marked(), marked((20, 10, 40), shape=(80, 80)), marked((1, 2, 90))]
    for picture in found:
        picture[..., 2] = rng.integers(0, 256, picture.shape[:2])  # the marks are red and green
    return found


def assert_equal(a, b, atol=1e-6):
    assert (a.source, a.size, a.reason, len(a.faces)) == (b.source, b.size, b.reason, len(b.faces))
    for one, other in zip(a.faces, b.faces, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose(list(one.probabilities.values()), list(other.probabilities.values()), atol=atol)
        np.testing.assert_allclose(one.motion_mask, other.motion_mask, atol=atol)
        np.testing.assert_array_equal(one.box, other.box)


def test_it_is_had_from_the_package():
    assert fmpn_timm.Predictor is Predictor and {"Predictor", "priors"} <= set(dir(fmpn_timm))
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        fmpn_timm.Predicter  # noqa: B018


def test_one_picture_or_a_list(predictor, pictures, tmp_path):
    results = predictor(pictures)
    assert [len(r.faces) for r in results] == [2, 0, 1, 1]
    assert [r.source for r in results] == [f"picture {i}" for i in range(4)]
    assert results[0].size == (140, 100) and results[0].reason == "" and results[1].reason == "no face was found"
    one = predictor(pictures[2])
    face, = one.faces
    assert tuple(face.probabilities) == EXPRESSIONS and sum(face.probabilities.values()) == pytest.approx(1)
    assert face.label == max(face.probabilities, key=face.probabilities.get) and face.score == 0.75
    assert face.box.tolist() == [20, 10, 60, 50] and face.landmarks.shape == (5, 2)
    assert face.face.shape == (40, 40, 3) and face.motion_mask.shape == (40, 40)
    Image.fromarray(pictures[2]).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    kinds = [tmp_path / "a.png", str(tmp_path / "a.png"), data, Image.open(io.BytesIO(data)),
             torch.from_numpy(pictures[2]).permute(2, 0, 1)]
    for kind in kinds:
        again = predictor(kind)
        assert again.faces[0].probabilities == face.probabilities
    assert predictor(tmp_path / "a.png").source == str(tmp_path / "a.png")
    assert [len(r.faces) for r in predictor(p for p in pictures)] == [2, 0, 1, 1] and predictor([]) == []


@pytest.mark.parametrize("flip", [False, True])
def test_the_model_sees_what_it_sees_in_evaluation(model, pictures, flip):
    predictor = Predictor(model, detector=Marked(), flip=flip)
    face, = predictor(pictures[2]).faces
    np.testing.assert_array_equal(face.face, RECIPE.align(pictures[2], face.landmarks))
    x = eval_transform(32, 40, (0,) * 3, (1,) * 3)(torch.from_numpy(face.face).permute(2, 0, 1))[None]
    with torch.inference_mode():
        logits, mask, _ = predictor.model.forward_motion(x)
        logits = (logits + predictor.model(x.flip(-1))) / 2 if flip else logits
    expected = logits.double().softmax(1)[0].tolist()
    np.testing.assert_allclose(list(face.probabilities.values()), expected, atol=1e-6)
    np.testing.assert_allclose(face.motion_mask[4:36, 4:36], mask[0, 0], atol=1e-6)
    assert face.motion_mask[:4].max() == face.motion_mask[:, 36:].max() == 0  # the model sees the middle
    np.testing.assert_allclose(face.mask_in_picture()[10:50, 20:60], face.motion_mask, atol=1e-4)


def sure(found):
    """Marked faces that are upright beyond doubt."""
    return [dataclasses.replace(faces, scores=faces.scores + 0.2) for faces in Marked()(found)]


def test_faces_in_hardly_any_light_are_found_and_seen(model, pictures, monkeypatch):
    looked, seen = [], []

    def needs_light(found):
        looked.append(found[0].mean())
        return sure([pictures[2] if found[0].mean() > 40 else marked()])

    predictor = Predictor(model, detector=needs_light)
    predictor.model.mask_generator.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    lit, = predictor(pictures[2] // 4).faces
    assert looked[0] < 40 < looked[1] and len(looked) == 2 and lit.face.mean() > 40
    assert predictor(marked((1, 2, 90)) + np.uint8(40)).faces and len(looked) == 3  # light enough: it is asked once
    monkeypatch.setattr(predictor._aligner, "detector", lambda found: sure([pictures[2]]))
    dark, = predictor(pictures[2] // 4).faces  # a face that is found in the dark
    assert dark.face.mean() < 40 and seen[-1].mean() > 2 * dark.face.mean() / 255


def surer_upright(looked: list):
    """A detector to whom a picture with a blue first pixel is upright."""
    def detect(found):
        looked.append(found[0])
        faces, = Marked()(found)
        return [dataclasses.replace(faces, scores=faces.scores + (0.2 if found[0][0, 0, 2] == 255 else 0))]

    return detect


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_pictures_that_lie_or_stand_on_their_heads_are_set_upright(model, quarters):
    looked = []
    predictor = Predictor(model, detector=surer_upright(looked))
    upright = marked((20, 10, 40))
    upright[0, 0, 2] = 255
    expected, = predictor(upright).faces
    assert len(looked) == 1  # sure enough: it is not turned
    result = predictor(np.rot90(upright, -quarters))
    face, = result.faces
    assert len(looked) == 5 and result.size == np.rot90(upright, quarters).shape[1::-1]
    np.testing.assert_array_equal(face.face, expected.face)
    assert face.probabilities == expected.probabilities and face.score == expected.score
    np.testing.assert_allclose(face.mask_in_picture(), np.rot90(expected.mask_in_picture(), -quarters), atol=0.02)
    x, y = face.box[[0, 2]].mean(), face.box[[1, 3]].mean()
    inside = np.rot90(upright, -quarters)[round(y), round(x), 0]
    assert inside == 140  # the face's red


def test_pictures_are_not_turned_for_faces_that_are_no_surer(predictor, pictures, monkeypatch):
    results = predictor(pictures)  # every face scores 0.75, however it is turned
    monkeypatch.setattr("fmpn_timm.inference.predictor.SURE", 0)  # no picture is turned
    for result, as_it_is in zip(results, predictor(pictures), strict=True):
        assert_equal(result, as_it_is)
        for face, same in zip(result.faces, as_it_is.faces, strict=True):
            np.testing.assert_array_equal(face.face, same.face)


@pytest.mark.parametrize("policy", ["all", "largest"])
def test_the_surest_face_decides_whether_a_picture_is_turned(model, policy):
    def blurred_and_sharp(found):
        faces, = Marked()(found)  # the largest first
        return [dataclasses.replace(faces, scores=np.array([0.78, 0.94], np.float32)[:len(faces)])]

    picture = marked((5, 5, 30), (60, 20, 70))
    result = Predictor(model, detector=blurred_and_sharp, faces=policy)(picture)
    assert [face.score for face in result.faces] == pytest.approx([0.78, 0.94][:2 if policy == "all" else 1])
    assert result.faces[0].box.tolist() == [60, 20, 130, 90]


@pytest.mark.parametrize("small_turned", [0.7, 0.87])
@pytest.mark.parametrize("policy", ["all", "largest"])
def test_a_sharp_face_on_its_side_leaves_soft_upright_ones(model, policy, small_turned):
    """A large face is sharp where the first pixel is blue, in the turned picture; the small one is upright."""
    def detect(found):
        faces, = Marked()(found)
        sides, turned = faces.boxes[:, 2] - faces.boxes[:, 0], found[0][0, 0, 2] == 255
        large, small = (0.95, small_turned) if turned else (0.8, 0.85)
        return [dataclasses.replace(faces, scores=np.where(sides > 40, large, small))]

    picture = np.rot90(marked((5, 5, 30), (60, 20, 70)))
    picture[-1, 0, 2] = 255  # the first pixel, when it is turned back by three quarters
    result = Predictor(model, detector=detect, faces=policy)(picture)
    assert [face.score for face in result.faces] == pytest.approx([0.95, 0.85][:2 if policy == "all" else 1])
    sizes = [face.box[2] - face.box[0] for face in result.faces]
    assert sizes == [70, 30][:len(sizes)]


def test_what_is_hardly_surer_in_the_turned_picture_is_clutter(model):
    def detect(found):
        faces, = Marked()([found[0]])
        turned = found[0][0, 0, 2] == 255
        keep = slice(1, 2) if turned else slice(0, 1)  # another face than in the picture as it is
        return [dataclasses.replace(faces, boxes=faces.boxes[keep], landmarks=faces.landmarks[keep],
                                    scores=np.array([0.82 if turned else 0.8], np.float32))]

    picture = np.rot90(marked((5, 5, 30), (60, 20, 70)))
    picture[-1, 0, 2] = 255
    assert [face.score for face in Predictor(model, detector=detect)(picture).faces] == pytest.approx([0.8])


def test_frames_of_a_video_are_not_turned(model):
    looked = []
    predictor = Predictor(model, detector=surer_upright(looked))
    list(predictor.stream([Frame("film", 0.0, marked((20, 10, 40)), number=0)]))
    assert len(looked) == 1


def test_files_and_paths_of_all_kinds_are_one_picture(model, predictor, pictures, tmp_path):
    Image.fromarray(pictures[2]).save(tmp_path / "a.png")
    entry, = os.scandir(tmp_path)
    wanted = predictor(pictures[2])
    with open(entry, "rb") as file:
        for one in (file, io.BytesIO((tmp_path / "a.png").read_bytes()), entry, tmp_path / "a.png"):
            assert len(predictor(one).faces) == len(wanted.faces)
    folder = Path(model.removeprefix("local-dir:"))
    assert len(Predictor(folder, detector=Marked())(pictures[2]).faces) == len(wanted.faces)


def test_faces_of_all_pictures_share_batches(model, predictor, pictures):
    sizes = []
    hook = predictor.model.backbone.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    results = predictor(pictures * 2)  # eight faces
    hook.remove()
    assert sum(sizes) == 16 and max(sizes) == 4  # each face and its mirror image, batches of four
    for a, b in zip(results, Predictor(model, detector=Marked(), batch_size=1)(pictures * 2), strict=True):
        assert_equal(a, b)


def test_broken_inputs_have_their_place_and_the_rest_goes_on(predictor, pictures, tmp_path):
    (tmp_path / "a.jpg").write_text("a letter")
    results = predictor([tmp_path / "a.jpg", pictures[0], tmp_path / "gone.jpg", b"", pictures[2],
                         np.zeros((1, 1), np.uint8), np.zeros((2, 20_000, 3), np.uint8)])
    assert [len(r.faces) for r in results] == [0, 2, 0, 0, 1, 0, 0]
    assert [r.read for r in results] == [False, True, False, False, True, True, True]
    assert results[0].reason.startswith("cannot be read: broken picture (8 bytes)") and results[0].size == (0, 0)
    assert results[2].reason == "cannot be read: no such file"
    assert results[5].size == (1, 1) and results[6].size == (20_000, 2)
    with pytest.raises(InputError, match="^picture 1: .*not float64"):
        predictor([pictures[0], pictures[0] / 255])


def test_a_picture_that_opencv_cannot_bear_does_not_end_the_run(model, pictures):
    class Fragile(Marked):
        def __call__(self, pictures):
            if pictures[0].shape[0] == 80:
                raise cv2.error("OpenCV: too wide\nin imgwarp.cpp")
            return super().__call__(pictures)

    results = Predictor(model, detector=Fragile())(pictures)
    assert [len(r.faces) for r in results] == [2, 0, 0, 1] and [r.read for r in results] == [True, True, False, True]
    assert results[2].reason.startswith("cannot be read: ") and "too wide" in results[2].reason


def test_largest_face_alone(model, pictures):
    result = Predictor(model, detector=Marked(), faces="largest", mask=False)(pictures[0])
    assert [face.box[0] for face in result.faces] == [60] and result.faces[0].motion_mask is None


def test_without_a_face_the_middle_may_stand_for_one(model, pictures):
    result = Predictor(model, detector=Marked(), missing="center")(pictures[1])
    face, = result.faces
    assert result.reason == "no face was found" and face.landmarks is None and face.quality.flags[0] == "no face"
    assert face.box.tolist() == [20, 0, 120, 100]
    np.testing.assert_allclose(face.matrix @ [[19.5, 119.5], [-0.5, 99.5], [1, 1]], [[-0.5, 39.5]] * 2, atol=1e-5)
    warped = face.mask_in_picture()
    assert warped[:, :20].max() == warped[:, 120:].max() == 0 < warped[50, 70]


def test_unsure_faces_are_called_uncertain(model, pictures):
    sure = Predictor(model, detector=Marked())(pictures[2]).faces[0]
    top = max(sure.probabilities.values())
    for abstain, label in ((top - 1e-3, sure.label), (top + 1e-3, "uncertain"), (0, sure.label)):
        face = Predictor(model, detector=Marked(), abstain=abstain)(pictures[2]).faces[0]
        assert face.label == label and face.probabilities == sure.probabilities


def test_the_temperature_of_the_config_is_applied(model, pictures, tmp_path):
    cold = Predictor(model, detector=Marked())
    config = json.loads((Path(model.removeprefix("local-dir:")) / "config.json").read_text())
    warm = save_tiny(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "temperature": 2.5}))
    warm = Predictor(warm, detector=Marked())
    assert (cold.temperature, warm.temperature) == (1, 2.5)
    a, b = (torch.tensor(list(p(pictures[2]).faces[0].probabilities.values())) for p in (cold, warm))
    torch.testing.assert_close(b, (a.log() / 2.5).softmax(0), atol=1e-5, rtol=1e-4)
    for wrong in (0, -1, "two", True):
        (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "temperature": wrong}))
        with pytest.raises(InputError, match="temperature"):
            Predictor(f"local-dir:{tmp_path / 'model'}", detector=Marked())


def test_guessed_recipes_are_said(tmp_path, model, marked_detector):
    with pytest.warns(UserWarning, match="names no recipe") as caught:
        predictor = Predictor(save_tiny(tmp_path / "none", recipe=None), detector=Marked())
    assert len(caught) == 1 and predictor.recipe == Recipe(size=40)
    given = save_tiny(tmp_path / "given", Recipe("dataset", 36, 0.1))
    with pytest.warns(UserWarning, match="data set's own landmarks: here yunet finds them"):
        assert Predictor(given).recipe == Recipe("yunet", 36, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Predictor(given, detector=Marked()).recipe == Recipe("yunet", 36, 0.1)  # whoever gives one knows
        assert Predictor(model, detector=Marked()).recipe == RECIPE
        assert Predictor(model, detector=Marked(), recipe=Recipe(size=50)).recipe == Recipe(size=50)


def test_models_without_masks(tmp_path, pictures):
    predictor = Predictor(save_tiny(tmp_path / "plain", arch="test_resnet"), detector=Marked())
    face, = predictor(pictures[2]).faces
    assert face.motion_mask is None and face.mask_in_picture() is None and set(face.probabilities) == set(EXPRESSIONS)


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 0}, "batch_size: give a whole number, at least 1, not 0"),
    ({"batch_size": 2.5}, "batch_size: give a whole number, at least 1, not 2.5"),
    ({"abstain": 1.2}, "abstain: give a probability"),
    ({"abstain": "often"}, "abstain: give a probability"),
    ({"faces": "best"}, "Unknown policy 'best'"),
    ({"missing": "guess"}, "Unknown choice 'guess'"),
    ({"device": "abacus"}, "device abacus.*abacus. Give another"),
    ({"detector": "dlib"}, "Unknown detector 'dlib'"),
])
def test_bad_options_are_one_line(model, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Predictor(model, **{"detector": Marked(), **options})
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this computer has one")
def test_a_device_that_is_not_here_is_told_in_short(model):
    with pytest.raises(InputError, match="^device mps: .*. Give another, such as cpu.$") as caught:
        Predictor(model, device="mps", detector=Marked())
    assert len(str(caught.value)) < 150


def test_a_module_is_no_name_of_a_model():
    with pytest.raises(InputError, match="local-dir:folder, not Linear.*save_model"):
        Predictor(torch.nn.Linear(2, 2), detector=Marked())


def test_it_pickles(predictor, pictures):
    for a, b in zip(pickle.loads(pickle.dumps(predictor))(pictures), predictor(pictures), strict=True):
        assert_equal(a, b)


def test_threads_do_not_disturb_each_other(predictor, pictures):
    alone, found = predictor(pictures), [None] * 4

    def work(i: int) -> None:
        found[i] = predictor(pictures)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for results in found:
        for a, b in zip(results, alone, strict=True):
            assert_equal(a, b)


def test_a_stream_holds_few_pictures(predictor, pictures):
    taken = 0

    def frames():
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield Frame(str(i), i / 25, pictures[1 if i % 2 else 2])

    stream = predictor.stream(frames(), keep=True)
    prediction, picture = next(stream)
    assert (prediction.source, prediction.time) == ("0", 0) and picture is pictures[2]
    assert taken < 10


def test_kept_pictures_are_few_where_they_are_large(predictor, pictures, monkeypatch):
    monkeypatch.setattr("fmpn_timm.inference.predictor.WAITING_PIXELS", 3 * pictures[1].shape[0] * pictures[1].shape[1])
    for keep, wanted in ((True, 3), (False, 40)):
        taken = []
        frames = (taken.append(i) or Frame(str(i), i / 25, pictures[1], number=i) for i in range(40))  # nobody in them
        next(predictor.stream(frames, keep=keep))
        assert len(taken) == wanted
