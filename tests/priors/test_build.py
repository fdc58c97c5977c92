"""Tests of building and importing prior masks."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.data.readers.drawn import read_drawn
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.priors import MaskSet, build_masks, equalize, import_masks
from fmpn_timm.priors.pairs import PairLimits
from tests.real import needs, real

REFERENCE = real("reference/masks")
CKPLUS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
MMI = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SIZE = 16
EQUATION_1 = dict(light="none", smooth=0, limits=None, progress=False)  # and nothing else


def colour(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, 2)


def face(subject: str | None, expression: str, picture: np.ndarray | Callable) -> Sample:
    load = picture if callable(picture) else lambda: picture
    return Sample(f"{subject}/{expression}/{id(picture)}", load, expression, subject)


def face_set(*samples: Sample) -> FaceSet:
    return FaceSet("folder", "train", EXPRESSIONS, samples, {"rule": "none"})


def noise(seed: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def equalized(difference: np.ndarray) -> np.ndarray:
    """Histogram equalisation of a difference, stretched to 0...255, by the textbook."""
    levels = np.round(difference / difference.max() * 255).astype(int)
    share = np.bincount(levels.ravel(), minlength=256).cumsum()
    first = share[share > 0][0]
    lookup = np.round((share - first) / max(levels.size - first, 1) * 255).clip(0)
    return lookup[levels] / 255


class TestEqualize:
    def test_is_opencv_s_on_the_stretched_range(self):
        difference = np.random.default_rng(0).gamma(2, 3, (20, 30))
        levels = np.round(difference / difference.max() * 255).astype(np.uint8)
        result = equalize(difference)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(np.round(result * 255).astype(np.uint8), cv2.equalizeHist(levels))

    def test_is_the_textbook_s(self):
        difference = np.random.default_rng(1).gamma(2, 3, (20, 30))
        np.testing.assert_allclose(equalize(difference), equalized(difference), atol=1 / 254)

    def test_keeps_the_order_of_values(self):
        difference = np.random.default_rng(2).exponential(4, (25, 25)).ravel()
        result = equalize(difference.reshape(25, 25)).ravel()[np.argsort(difference)]
        assert (np.diff(result) >= 0).all()
        assert result[0] == 0 and result[-1] == 1

    def test_values_become_evenly_spread(self):
        difference = np.random.default_rng(3).uniform(0, 1, (80, 80)) ** 2
        quantiles = np.quantile(equalize(difference), [0.25, 0.5, 0.75])
        np.testing.assert_allclose(quantiles, [0.25, 0.5, 0.75], atol=0.06)

    @pytest.mark.parametrize("scale", [1e-3, 7.0, 1e5])
    def test_scale_is_of_no_matter(self, scale):
        difference = np.random.default_rng(4).integers(0, 256, (12, 12)).astype(float)
        np.testing.assert_array_equal(equalize(difference * scale), equalize(difference))

    def test_nothing_moved(self):
        result = equalize(np.zeros((4, 6)))
        assert result.dtype == np.float32 and result.shape == (4, 6) and not result.any()


class TestBuild:
    def test_equation_1(self):
        """psi(1/n_k sum_i |x_i^k - x_i^neutral|), the neutral face of a subject shared by all its expressive faces."""
        neutral = {"a": noise(0), "b": noise(1), "c": noise(2)}
        fear = [("a", noise(3)), ("a", noise(4)), ("b", noise(5)), ("c", noise(6))]
        anger = [("b", noise(7)), ("c", noise(8))]
        samples = [face(s, "fear", colour(x)) for s, x in fear]  # before their neutral faces
        samples += [face(s, "neutral", colour(x)) for s, x in neutral.items()]
        samples += [face(s, "anger", colour(x)) for s, x in anger]
        masks = build_masks(face_set(*samples), size=SIZE, **EQUATION_1)
        assert masks.classes == ("anger", "fear")  # canonical order
        assert masks.pairs == {"anger": 2, "fear": 4}
        assert masks.masks.dtype == torch.float32 and masks.masks.shape == (2, SIZE, SIZE)
        for mask, pairs in zip(masks.masks.numpy(), (anger, fear), strict=True):
            mean = sum(np.abs(x.astype(float) - neutral[s]) for s, x in pairs) / len(pairs)
            np.testing.assert_allclose(mask, equalized(mean), atol=1 / 254)

    def test_smoothing_is_a_share_of_the_size(self):
        neutral, fear = noise(1), noise(2)
        faces = face_set(face("a", "neutral", colour(neutral)), face("a", "fear", colour(fear)))
        masks = build_masks(faces, size=SIZE, **{**EQUATION_1, "smooth": 0.1})
        difference = np.abs(fear.astype(np.float64) - neutral)
        smooth = cv2.GaussianBlur(difference, (0, 0), 0.1 * SIZE, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(masks.masks[0].numpy(), equalized(smooth), atol=0.03)

    def test_what_it_was_made_of_is_recorded(self):
        samples = face("a", "neutral", colour(noise(0))), face("a", "fear", colour(noise(1)))
        masks = build_masks(face_set(*samples), size=SIZE, **EQUATION_1)
        assert masks.data == "folder train"
        assert masks.recipe["size"] == SIZE and masks.recipe["options"] == {"rule": "none"}

    def test_the_first_neutral_face_is_the_one(self):
        first, second, fear = noise(0), noise(1), noise(2)
        samples = [face("a", "neutral", colour(x)) for x in (first, second)]
        masks = build_masks(face_set(*samples, face("a", "fear", colour(fear))), size=SIZE, **EQUATION_1)
        np.testing.assert_allclose(masks.masks[0], equalized(np.abs(fear.astype(float) - first)), atol=1 / 254)

    def test_a_neutral_face_is_loaded_once(self):
        loaded = []
        neutral = face("a", "neutral", lambda: loaded.append("neutral") or colour(noise(0)))
        fears = [face("a", "fear", colour(noise(i))) for i in range(1, 5)]
        assert build_masks(face_set(neutral, *fears), size=SIZE, **EQUATION_1).pairs == {"fear": 4}
        assert loaded == ["neutral"]

    def test_nothing_moved(self):
        samples = face("a", "neutral", colour(noise(0))), face("a", "fear", colour(noise(0)))
        assert not build_masks(face_set(*samples), size=SIZE, **EQUATION_1).masks.any()

    def test_a_moved_square_is_bright_where_it_was_and_is(self):
        before, after = np.full((2, SIZE, SIZE), 90, np.uint8)
        before[2:5, 2:5] = after[9:12, 8:11] = 220
        samples = face("a", "neutral", colour(before)), face("a", "sadness", colour(after))
        mask = build_masks(face_set(*samples), size=SIZE, **EQUATION_1).masks[0].numpy()
        moved = np.zeros((SIZE, SIZE), bool)
        moved[2:5, 2:5] = moved[9:12, 8:11] = True
        assert (mask[moved] == 1).all() and (mask[~moved] == 0).all()

    def test_colours_count_as_luma(self):
        grey, red, blue = (np.zeros((SIZE, SIZE, 3), np.uint8) for _ in range(3))
        red[:8, :, 0] = blue[8:, :, 2] = 255
        samples = face("a", "neutral", grey), face("a", "fear", np.maximum(red, blue))
        mask = build_masks(face_set(*samples), size=SIZE, **EQUATION_1).masks[0]
        assert (mask[:8] > mask[8:]).all()  # 0.299 against 0.114: red comes first in RGB

    @pytest.mark.parametrize("size", [8, 33])
    def test_size_is_the_masks(self, size):
        samples = face("a", "neutral", colour(noise(0))), face("a", "fear", colour(noise(1)))
        assert build_masks(face_set(*samples), size=size, **EQUATION_1).masks.shape == (1, size, size)

    def test_faces_without_a_pair_are_left_out(self):
        samples = (
            face("a", "neutral", colour(noise(0))),
            face("a", "fear", colour(noise(1))),
            face("b", "fear", colour(noise(2))),  # b has no neutral face
            face(None, "neutral", colour(noise(3))),
            face(None, "anger", colour(noise(4))),  # nobody knows whether they are one person
        )
        masks = build_masks(face_set(*samples), size=SIZE, **EQUATION_1)
        assert masks.pairs == {"fear": 1}
        np.testing.assert_allclose(masks.masks[0], equalized(np.abs(noise(1).astype(float) - noise(0))), atol=1 / 254)

    @pytest.mark.parametrize(
        "who",
        [[("a", "fear")], [("a", "neutral")], [("a", "neutral"), ("b", "fear")], [(None, "neutral"), (None, "fear")]],
    )
    def test_no_pair(self, who):
        samples = [face(subject, expression, colour(noise(0))) for subject, expression in who]
        with pytest.raises(InputError, match="folder train has no .* a neutral and an expressive face.*--priors"):
            build_masks(face_set(*samples), size=SIZE, **EQUATION_1)


@pytest.fixture(scope="module")
def drawn_masks() -> MaskSet:
    faces = read_drawn(None, "train", subjects=5, takes=1, light=0.0, noise=0.0, pose=0.0)
    return build_masks(faces, progress=False)


class TestDrawnFaces:
    @staticmethod
    def brightness(masks: MaskSet, expression: str) -> dict[str, float]:
        mask = masks.select((expression,)).masks[0]  # (72, 72)
        return {
            "forehead": float(mask[1:8, 25:47].mean()),
            "brows": float(torch.cat([mask[8:16, 16:29], mask[8:16, 43:56]]).mean()),
            "cheeks": float(torch.cat([mask[36:47, 16:29], mask[36:47, 43:56]]).mean()),
            "mouth": float(mask[52:60, 24:48].mean()),
        }

    def test_every_expression_has_a_pair_of_every_subject(self, drawn_masks):
        assert drawn_masks.pairs == dict.fromkeys(EXPRESSIONS[1:], 3)
        assert drawn_masks.classes == EXPRESSIONS[1:]

    def test_happiness_is_at_the_mouth(self, drawn_masks):
        bright = self.brightness(drawn_masks, "happiness")
        assert bright["mouth"] > bright["forehead"] + 0.2

    def test_surprise_is_at_the_brows(self, drawn_masks):
        bright = self.brightness(drawn_masks, "surprise")
        assert bright["brows"] > bright["cheeks"] + 0.2


def write_masks(folder: Path, count: int, seed: int = 0, size: int = 10) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    masks = np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)
    for i, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{i}.png"), mask)
    return masks


class TestImport:
    @pytest.mark.parametrize(("layout", "classes"), [("ckplus", CKPLUS), ("mmi", MMI)])
    def test_one_fold(self, tmp_path, layout, classes):
        pngs = write_masks(tmp_path / "3", len(classes))
        masks = import_masks(str(tmp_path / "3"), layout)
        assert masks.classes == classes and masks.masks.dtype == torch.float32
        np.testing.assert_allclose(masks.masks, pngs / 255, atol=1e-6)
        assert "fold 3" in masks.data and "donydchen/FMPN-FER" in masks.data
        assert masks.recipe == {"layout": layout, "folds": ["3"]}

    def test_folds_are_averaged(self, tmp_path):
        pngs = [write_masks(tmp_path / str(fold), 6, seed=fold) for fold in range(3)]
        masks = import_masks(tmp_path, "mmi")
        np.testing.assert_allclose(masks.masks, np.mean(pngs, axis=0) / 255, atol=1e-6)
        assert "mean of 3 folds" in masks.data and masks.recipe["folds"] == ["0", "1", "2"]

    def test_the_folder_above_the_folds_is_told(self, tmp_path):
        write_masks(tmp_path / "imgs_res" / "0", 6)
        with pytest.raises(InputError, match=f"one level too high: give {tmp_path / 'imgs_res'}"):
            import_masks(tmp_path, "mmi")

    def test_unknown_layout_lists_the_layouts(self, tmp_path):
        with pytest.raises(InputError, match="Unknown mask layout 'oulu': choose one of ckplus, mmi"):
            import_masks(tmp_path, "oulu")

    @pytest.mark.parametrize("number", [0, 3, 6])
    @pytest.mark.parametrize("fold", [".", "1"])
    def test_missing_mask_is_named(self, tmp_path, number, fold):
        for name in (".",) if fold == "." else ("0", "1", "2"):
            write_masks(tmp_path / name, 7)
        (tmp_path / fold / f"{number}.png").unlink()
        with pytest.raises(InputError, match=rf"{number}\.png missing or broken; ckplus has 0\.png \.\.\. 6\.png"):
            import_masks(tmp_path, "ckplus")

    def test_broken_mask_is_named(self, tmp_path):
        write_masks(tmp_path, 6)
        (tmp_path / "2.png").write_bytes(b"<html>404</html>")
        (tmp_path / "4.png").write_bytes(b"")
        with pytest.raises(InputError, match=r"2\.png, 4\.png missing or broken"):
            import_masks(tmp_path, "mmi")

    def test_empty_and_missing_folder(self, tmp_path):
        for folder in (tmp_path, tmp_path / "gone"):
            with pytest.raises(InputError, match=rf"{folder}: 0\.png, .*5\.png missing or broken"):
                import_masks(folder, "mmi")

    def test_masks_of_different_size(self, tmp_path):
        write_masks(tmp_path, 6)
        cv2.imwrite(str(tmp_path / "1.png"), np.zeros((9, 10), np.uint8))
        with pytest.raises(InputError, match="the masks differ in size"):
            import_masks(tmp_path, "mmi")

    def test_folds_of_different_size(self, tmp_path):
        write_masks(tmp_path / "0", 6)
        write_masks(tmp_path / "1", 6, size=12)
        with pytest.raises(InputError, match="the folds' masks differ in size"):
            import_masks(tmp_path, "mmi")


@needs(REFERENCE)
class TestPublishedMasks:
    @staticmethod
    def pngs(fold: Path, count: int) -> np.ndarray:
        return np.stack([cv2.imread(str(fold / f"{i}.png"), cv2.IMREAD_GRAYSCALE) for i in range(count)]) / 255

    @pytest.mark.parametrize(
        ("name", "layout", "classes", "size"), [("CKPlus", "ckplus", CKPLUS, 70), ("MMI", "mmi", MMI, 81)]
    )
    def test_a_fold_is_its_pictures(self, name, layout, classes, size):
        masks = import_masks(REFERENCE / name / "4", layout)
        assert masks.classes == classes and masks.masks.shape == (len(classes), size, size)
        np.testing.assert_allclose(masks.masks, self.pngs(REFERENCE / name / "4", len(classes)), atol=1e-6)

    @pytest.mark.parametrize(("name", "layout", "count"), [("CKPlus", "ckplus", 7), ("MMI", "mmi", 6)])
    def test_the_parent_is_the_mean_of_ten_folds(self, name, layout, count):
        masks = import_masks(REFERENCE / name, layout)
        mean = sum(self.pngs(REFERENCE / name / str(fold), count) for fold in range(10)) / 10
        np.testing.assert_allclose(masks.masks, mean, atol=1e-6)
        assert len(masks.recipe["folds"]) == 10

    def test_the_packaged_set_is_the_mean_of_ck_plus(self):
        packaged, imported = MaskSet.load("ckplus"), import_masks(REFERENCE / "CKPlus", "ckplus")
        assert packaged.classes == imported.classes and packaged.data == imported.data
        torch.testing.assert_close(packaged.masks, imported.masks)

    def test_ck_plus_and_mmi_call_alike_what_is_alike(self):
        """So neither layout has its classes in another order."""
        sets = [import_masks(REFERENCE / name, layout) for name, layout in (("CKPlus", "ckplus"), ("MMI", "mmi"))]
        masks = [s.select(MMI).resize(70).masks.flatten(1) for s in sets]
        correlation = torch.corrcoef(torch.cat([m - m.mean(0) for m in masks]))[:6, 6:]
        same = torch.eye(6, dtype=torch.bool)
        assert correlation[same].mean() > 0.3 > 0 > correlation[~same].mean()


def test_masks_of_another_layout_are_refused(tmp_path):
    for k in range(7):  # CK+ has seven, MMI six
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match="more than mmi's 6 masks.*--layout"):
        import_masks(tmp_path, "mmi")


def test_outliers_are_refused_and_not_counted():
    still = np.random.default_rng(0).integers(90, 110, (SIZE, SIZE)).astype(np.uint8)
    samples = []
    for i in range(10):
        moved = still.copy()
        moved[10:14, 4:12] += np.uint8(40 + i)  # the mouth of all
        if i == 9:
            moved[2:8] += np.uint8(60)  # and the brows of one
        samples += [face(str(i), "neutral", colour(still)), face(str(i), "happiness", colour(moved))]
    limits = PairLimits(light=10.0, shift=1.0, blink=0.0)
    masks = build_masks(face_set(*samples), size=SIZE, light="none", smooth=0, limits=limits, progress=False)
    assert masks.pairs["happiness"] == 9
    assert [pair["source"] for pair in masks.quality["refused"]] == [samples[-1].source]
