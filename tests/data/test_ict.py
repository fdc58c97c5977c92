"""Tests of ICT FaceKit's model and renderer, on a coarse head in its layout."""

import os
from pathlib import Path

import numpy as np
import pytest

from fmpn_timm.data import ict
from fmpn_timm.data.ict import expression_weights, load_ict, pose_head, rasterise
from fmpn_timm.errors import InputError
from fmpn_timm.faces import five_of_68
from tests.data.ict_head import COLUMNS, ROWS, write_head
from tests.real import needs, real


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_head(tmp_path_factory.mktemp("ict")).parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FMPN_CACHE", str(tmp_path / "cache"))
    ict._load.cache_clear()
    yield tmp_path / "cache"
    ict._load.cache_clear()


def test_only_rendered_materials_are_kept(root):
    model = load_ict(root)
    assert len(model.vertices) == COLUMNS * ROWS + 8  # without the four of M_EyeBlend
    assert len(model.triangles) == 2 * (COLUMNS - 1) * (ROWS - 1) + 4
    assert model.vertices[:, 2].max() < 20
    assert (len(model.identities), len(model.names)) == (3, len(model.expressions))
    assert model.vertices.dtype == model.identities.dtype == model.expressions.dtype == np.float32


def test_landmarks_follow_their_vertices(root):
    model = load_ict(root)
    right, left, nose, *_, corner = five_of_68(model.vertices[model.landmarks])
    assert right[0] < -2 and left[0] > 2 and abs(nose[0]) < 0.5 and corner[0] > 2


def test_the_cache_is_read_and_equals_the_meshes(root, cache, monkeypatch):
    first = load_ict(root)
    assert [p.suffix for p in cache.iterdir()] == [".safetensors"]  # and nothing half-written
    ict._load.cache_clear()
    monkeypatch.setattr(ict, "_read_meshes", lambda folder: pytest.fail("the meshes were read again"))
    second = load_ict(root / "FaceXModel")
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), value)


def test_a_broken_cache_is_made_anew(root, cache):
    load_ict(root)
    path, = cache.iterdir()
    path.write_bytes(b"no cache")
    ict._load.cache_clear()
    assert len(load_ict(root).vertices) and path.stat().st_size > 1000


def test_changed_meshes_are_read_again(tmp_path, cache):
    folder = write_head(tmp_path)
    load_ict(folder)
    os.utime(folder / "identity000.obj", (1, 1))
    ict._load.cache_clear()
    load_ict(folder)
    assert len(list(cache.iterdir())) == 2


def test_no_writable_cache_is_no_error(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FMPN_CACHE", str(tmp_path / "file" / "cache"))
    assert len(load_ict(root).vertices)


def test_a_disk_without_room_for_the_cache_is_no_error(root, cache):
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        assert len(load_ict(root).vertices)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(cache.iterdir())


@pytest.mark.parametrize("level", [".", "FaceXModel", ".."])
def test_the_root_may_be_a_level_up_or_down(root, level):
    assert len(load_ict(root / level).vertices)


def test_wrong_root_is_named(tmp_path):
    with pytest.raises(InputError, match=r"holds no FaceXModel/generic_neutral_mesh\.obj"):
        load_ict(tmp_path)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("identity001.obj", "v 1 2 x\n", r"identity001\.obj: broken mesh"),
    ("identity001.obj", "", r"identity001\.obj: broken mesh"),
    ("identity001.obj", "\nv 1 2 3\n", r"identity001\.obj has 1 vertices, the neutral mesh"),
    ("generic_neutral_mesh.obj", "\nv 1 2 3\nf 1 1 1\n", r"generic_neutral_mesh\.obj: no faces of M_Face"),
    ("vertex_indices.json", "{}", r"vertex_indices\.json is missing or broken"),
    ("vertex_indices.json", '{"idx_to_landmark_verts": [1, 2]}', "68 landmarks"),
])
def test_broken_files_are_named(tmp_path, name, text, message):
    folder = write_head(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_ict(tmp_path)


def test_people_and_shapes_add_up(root):
    model = load_ict(root)
    person = model.person(np.array([1.0, 0.0, -2.0]))
    np.testing.assert_allclose(person, model.vertices + model.identities[0] - 2 * model.identities[2], atol=1e-5)
    moved = model.move(person, {"jawOpen": 0.5})
    np.testing.assert_allclose(moved - person, 0.5 * model.expressions[model.names.index("jawOpen")], atol=1e-5)
    assert model.person() is model.vertices
    with pytest.raises(InputError, match="no shape earWiggle"):
        model.move(person, {"earWiggle": 1.0})


def test_weights_take_both_sides_and_contempt_one():
    assert expression_weights("neutral") == {}
    happy = expression_weights("happiness", 0.5)
    assert happy["mouthSmile_L"] == happy["mouthSmile_R"] == 0.55 and happy["jawOpen"] == 0.05
    right, left = (expression_weights("contempt", mirrored=mirrored) for mirrored in (False, True))
    assert right["mouthSmile_R"] > right["mouthSmile_L"] and left["mouthSmile_L"] == right["mouthSmile_R"]


def test_pose_turns_the_nose():
    nose = np.array([[0, 0, 10]], np.float32)
    down, left, rolled = (pose_head(p, a)[0] for p, a in (
        (nose, (0.3, 0, 0)), (nose, (0, 0.3, 0)), (np.array([[0, 5, 0]], np.float32), (0, 0, 0.3))))
    assert down[1] > 1 and left[0] > 1 and rolled[0] > 1


def test_rasteriser_fills_a_square_without_gaps_and_interpolates():
    points = np.array([(1.2, 1.2, 0), (1.2, 8.7, 0), (8.7, 8.7, 0), (8.7, 1.2, 0)], np.float32)
    raster = rasterise(points, np.array([(0, 1, 2), (0, 2, 3)]), (12, 10))
    covered = np.zeros((12, 10), bool)
    covered[2:9, 2:9] = True
    np.testing.assert_array_equal(raster.covered(), covered)
    where = raster.spread(points[:, :2], empty=-1)
    y, x = np.nonzero(covered)
    np.testing.assert_allclose(where[y, x], np.stack([x, y], 1), atol=1e-4)
    assert (where[~covered] == -1).all()


def test_rasteriser_shows_the_nearest_from_outside_only():
    square = np.array([(0, 0), (0, 7), (7, 7), (7, 0)], np.float32)
    points = np.concatenate([np.column_stack([square, np.full(4, z)]) for z in (1, 5, 9)]).astype(np.float32)
    front = np.array([(0, 1, 2), (0, 2, 3)])
    triangles = np.concatenate([front + 4, front, front[:, ::-1] + 8])  # the nearest looks away
    depth = rasterise(points, triangles, (8, 8)).spread(points[:, 2:])
    np.testing.assert_allclose(depth, 5, atol=1e-4)


def test_light_falls_on_what_faces_it(root):
    model = load_ict(root)
    seen = pose_head(model.vertices)
    above, below = (ict.shade(seen, model.triangles, (0, y, 0.5), ambient=0.2) for y in (-1, 1))
    forehead = model.vertices[:, 1] > 8
    assert above[forehead].mean() > below[forehead].mean() + 0.1
    assert above.min() >= 0.2 - 1e-6 and above.max() <= 1 + 1e-5


ARCHIVE = real("data/ict_facekit.tar.xz")


@pytest.mark.slow
@needs(ARCHIVE)
def test_the_real_model_is_rendered(tmp_path):
    import tarfile

    from fmpn_timm.data.readers.ict import read_ict

    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    model = load_ict(tmp_path)
    assert len(model.identities) == 100 and len(model.names) >= 55
    samples = read_ict(tmp_path, "all", subjects=5).samples
    pictures = [sample.picture() for sample in samples]
    assert all(np.std(picture) > 15 for picture in pictures)
