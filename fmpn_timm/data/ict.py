"""ICT FaceKit: a morphable head, loaded from its meshes, moved by its expressions and rendered without a GPU.

The model (USC Institute for Creative Technologies, MIT licence, https://github.com/ICT-VGL/ICT-FaceKit) is a neutral
head with offsets of 100 identities and some fifty expressions, all of one topology:
``v = neutral + sum a_i (identity_i - neutral) + sum w_j (expression_j - neutral)``. The user's copy of ``FaceXModel``
is read once and cached. It has no texture: skin, brows, lips and irises are painted here.

Lengths are the model's units, about centimetres: x to the subject's left (right in the picture), y up, z to the viewer.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fmpn_timm.errors import InputError

__all__ = ["EXPRESSION_WEIGHTS", "IctModel", "Raster", "expression_weights", "load_ict", "paint_face", "pose_head",
           "rasterise", "render", "shade"]

#: Shapes of each expression at full intensity, both sides unless the name ends in _L or _R. Calibrated so that
#: landmarks move as they do between the neutral and peak frames of CK+; the shapes are those of the expression's action
#: units (EMFACS).
EXPRESSION_WEIGHTS: dict[str, dict[str, float]] = {
    "neutral": {},
    "happiness": dict(cheekSquint=0.9, cheekRaiser=0.9, mouthSmile=1.1, mouthUpperUp=0.35, mouthLowerDown=0.2,
                      jawOpen=0.1, eyeSquint=0.4),
    "surprise": dict(browInnerUp=1.2, browOuterUp=1.2, eyeWide=1.0, jawOpen=1.0, mouthFunnel=0.2),
    "sadness": dict(browInnerUp=1.0, browDown=0.5, mouthFrown=1.0, mouthShrugLower=1.2, mouthRollLower=0.3,
                    mouthShrugUpper=0.4, mouthPress=0.3),
    "anger": dict(browDown=1.0, eyeWide=0.2, eyeSquint=0.7, cheekSquint=0.3, mouthPress=0.8, mouthRollUpper=0.6,
                  mouthRollLower=0.7, mouthShrugLower=0.7, noseSneer=0.15, mouthFrown=0.2),
    "disgust": dict(noseSneer=1.0, mouthUpperUp=0.4, mouthLowerDown=0.1, mouthShrugLower=0.7, browDown=0.9,
                    cheekSquint=0.7, eyeSquint=0.8, mouthFrown=0.4),
    "fear": dict(browInnerUp=1.0, browOuterUp=0.4, browDown=0.5, eyeWide=0.8, mouthStretch=0.8, jawOpen=0.12,
                 mouthLowerDown=0.5, mouthUpperUp=0.4, mouthSmile=0.25, noseSneer=0.1),
    "contempt": dict(mouthSmile_R=0.55, mouthDimple_R=0.9, mouthPress_R=0.4, mouthSmile_L=0.15, mouthDimple_L=0.6,
                     mouthPress_L=0.4, mouthShrugLower=0.3, mouthRollLower=0.2),
}

#: Shapes that have no sides.
MIDDLE = ("jawOpen", "mouthFunnel", "mouthShrugLower", "mouthShrugUpper", "mouthRollLower", "mouthRollUpper")
OTHER_SIDE = {"_L": "_R", "_R": "_L"}

#: Materials that are rendered; the others are helpers of a film renderer, or the irises: whole balls in the scleras.
MATERIALS = ("M_Face", "M_BackHead", "M_GumsTongue", "M_Teeth", "M_ScleraLeft", "M_ScleraRight")
FACE, HEAD, GUMS, TEETH, LEFT_EYE, RIGHT_EYE = range(len(MATERIALS))
EYES = (LEFT_EYE, RIGHT_EYE)

LANDMARKS = 68
CACHE_VERSION = 2
EDGE = 1e-4  # tolerance of shares, so that no pixel falls between two triangles
DISTANCE = 90.0  # of the camera from the head's origin
HOLLOW = 0.55  # how dark hollows get; chosen by eye
SAMPLES = 2  # of a pixel along each axis


@dataclass(frozen=True, eq=False)
class IctModel:
    """The rendered part of the model, float32.

    Attributes:
        vertices: Mean neutral head (V, 3).
        identities: Offsets of the identities (I, V, 3).
        expressions: Offsets of the expression shapes (E, V, 3).
        names: Names of the E shapes, ``mouthSmile_L`` and its like.
        triangles: Vertex indices (T, 3), counter-clockwise seen from outside.
        materials: Index into ``MATERIALS`` of each vertex (V,).
        landmarks: The vertices (68,) of the iBUG landmarks.
    """

    vertices: np.ndarray
    identities: np.ndarray
    expressions: np.ndarray
    names: tuple[str, ...]
    triangles: np.ndarray
    materials: np.ndarray
    landmarks: np.ndarray

    def person(self, coefficients: np.ndarray | None = None) -> np.ndarray:
        """Neutral head (V, 3) of the identity with these coefficients (I,), each about N(0, 1); the mean if None."""
        if coefficients is None:
            return self.vertices
        offsets = np.asarray(coefficients, np.float32) @ self.identities.reshape(len(self.identities), -1)
        return self.vertices + offsets.reshape(-1, 3)

    def move(self, neutral: np.ndarray, weights: Mapping[str, float]) -> np.ndarray:
        """A neutral head (V, 3) with shapes added, by name and weight.

        Raises:
            InputError: The model has no such shape.
        """
        missing = [name for name in weights if name not in self.names]
        if missing:
            raise InputError(f"ICT FaceKit has no shape {', '.join(missing)}. Use a complete copy of FaceXModel.")
        moved = neutral.copy()
        for name, weight in weights.items():
            moved += np.float32(weight) * self.expressions[self.names.index(name)]
        return moved


def expression_weights(expression: str, intensity: float = 1.0, mirrored: bool = False) -> dict[str, float]:
    """Weights of the model's shapes for an expression.

    Args:
        expression: Canonical class name.
        intensity: Factor of all weights, about 0.6 to 1.
        mirrored: Swap left and right (contempt is one-sided, on the right unless mirrored).
    """
    weights = {}
    for name, weight in EXPRESSION_WEIGHTS[expression].items():
        whole = name in MIDDLE or name[-2:] in OTHER_SIDE
        for shape in (name,) if whole else (f"{name}_L", f"{name}_R"):
            if mirrored:
                shape = shape[:-2] + OTHER_SIDE.get(shape[-2:], shape[-2:])
            weights[shape] = intensity * weight
    return weights


def load_ict(root: str | Path) -> IctModel:
    """Read the model, from its meshes the first time and from a cache afterwards.

    The cache is a file in ``$FMPN_CACHE`` or ``~/.cache/fmpn-timm`` (about 45 MB), named after the sizes and times of
    the meshes; it may be deleted. Without a writable cache the meshes are read every time.

    Args:
        root: The folder ``FaceXModel``, or one that holds it.

    Raises:
        InputError: No model there, or a mesh is missing, broken or of another topology.
    """
    return _load(_find(Path(root)))


@lru_cache(maxsize=2)
def _load(folder: Path) -> IctModel:
    cached = _cache_path(folder)
    try:
        return _read_cache(cached)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):  # none yet, or a broken one: read the meshes
        model = _read_meshes(folder)
    with contextlib.suppress(OSError, SafetensorError):  # a read-only home or a full disk is no reason to stop
        _write_cache(model, cached)
    return model


def _find(root: Path) -> Path:
    for folder in (root, root / "FaceXModel", root.parent, *sorted(root.glob("*/FaceXModel"))):
        if (folder / "generic_neutral_mesh.obj").is_file():
            return folder.resolve()
    raise InputError(
        f"{root} holds no FaceXModel/generic_neutral_mesh.obj: give the folder of ICT FaceKit's FaceXModel "
        "(https://github.com/ICT-VGL/ICT-FaceKit)."
    )


def _cache_path(folder: Path) -> Path:
    home = os.environ.get("FMPN_CACHE")
    cache = Path(home) if home else Path.home() / ".cache" / "fmpn-timm"
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.iterdir()) if p.is_file()]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, str(folder), stats]).encode()).hexdigest()[:16]
    return cache / f"ict-{key}.safetensors"


def _read_cache(path: Path) -> IctModel:
    with safe_open(path, "np") as file:
        names = tuple(json.loads(file.metadata()["names"]))
        return IctModel(names=names, **{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _write_cache(model: IctModel, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write at once
    arrays = {name: np.ascontiguousarray(value) for name, value in vars(model).items() if name != "names"}
    try:
        save_file(arrays, partial, metadata={"names": json.dumps(model.names)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read_meshes(folder: Path) -> IctModel:
    neutral_path = folder / "generic_neutral_mesh.obj"
    neutral = _read_vertices(neutral_path)
    triangles, materials = _read_faces(neutral_path, len(neutral))
    landmarks = _read_landmarks(folder / "vertex_indices.json", len(neutral))
    meshes = sorted(path for path in folder.glob("*.obj") if path != neutral_path)
    identity_paths = [path for path in meshes if path.stem.startswith("identity")]
    expression_paths = [path for path in meshes if not path.stem.startswith("identity")]
    if not identity_paths or not expression_paths:
        raise InputError(f"{folder} lacks the identity or the expression meshes: copy all of FaceXModel.")

    kept = np.unique(triangles)
    if not np.isin(landmarks, kept).all():
        raise InputError(f"{folder / 'vertex_indices.json'}: landmarks off the face. Use ICT FaceKit's own file.")
    renumber = np.zeros(len(neutral), np.int32)
    renumber[kept] = np.arange(len(kept))
    vertex_material = np.zeros(len(kept), np.int32)
    vertex_material[renumber[triangles]] = materials[:, None]

    def offsets(paths: list[Path]) -> np.ndarray:
        stack = np.empty((len(paths), len(kept), 3), np.float32)
        for row, path in zip(stack, paths, strict=True):
            vertices = _read_vertices(path)
            if len(vertices) != len(neutral):
                counts = f"{len(vertices)} vertices, the neutral mesh {len(neutral)}"
                raise InputError(f"{path} has {counts}. Fetch it again.")
            row[:] = (vertices - neutral)[kept]
        return stack

    return IctModel(
        vertices=neutral[kept].astype(np.float32),
        identities=offsets(identity_paths),
        expressions=offsets(expression_paths),
        names=tuple(path.stem for path in expression_paths),
        triangles=renumber[triangles],
        materials=vertex_material,
        landmarks=renumber[landmarks],
    )


def _read_vertices(path: Path) -> np.ndarray:
    """The lines ``v x y z`` (V, 3) of a mesh, float64; they stand together in these files."""
    data = path.read_bytes()
    start = data.find(b"\nv ")
    ends = [data.find(tag, start) for tag in (b"\nvt", b"\nvn", b"\nusemtl", b"\nf ", b"\ng ")]
    text = data[start : min((end for end in ends if end > 0), default=len(data))].replace(b"\nv", b"\n")
    try:
        values = np.loadtxt(text.decode("ascii").splitlines(), ndmin=2).ravel() if start >= 0 else np.array([])
    except ValueError:
        values = np.array([])
    if not values.size or values.size % 3 or not np.isfinite(values).all():
        raise InputError(f"{path}: broken mesh ({len(data)} bytes). Fetch it again.")
    return values.reshape(-1, 3)


def _read_faces(path: Path, vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (T, 3) of the rendered materials, and the material of each (T,)."""
    triangles, materials, material = [], [], None
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("usemtl"):
            name = line.split()[-1]
            material = MATERIALS.index(name) if name in MATERIALS else None
        elif line.startswith("f ") and material is not None:
            corners = [int(corner.split("/")[0]) - 1 for corner in line.split()[1:]]
            for second, third in zip(corners[1:], corners[2:], strict=False):
                triangles.append((corners[0], second, third))
                materials.append(material)
    triangles = np.array(triangles, np.int32).reshape(-1, 3)
    if not len(triangles) or triangles.min() < 0 or triangles.max() >= vertices:
        raise InputError(f"{path}: no faces of {', '.join(MATERIALS)}, or they name no vertices. Fetch it again.")
    return triangles, np.array(materials, np.int32)


def _read_landmarks(path: Path, vertices: int) -> np.ndarray:
    try:
        landmarks = np.array(json.loads(path.read_text())["idx_to_landmark_verts"], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is missing or broken ({error}). Fetch it again.") from None
    if landmarks.shape != (LANDMARKS,) or landmarks.min() < 0 or landmarks.max() >= vertices:
        raise InputError(f"{path}: expected the vertices of {LANDMARKS} landmarks. Fetch it again.")
    return landmarks


def pose_head(vertices: np.ndarray, angles: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Turn a head and see it through a camera.

    Args:
        vertices: (V, 3).
        angles: Pitch (down), yaw (to the subject's left) and roll (clockwise in the picture), radians.

    Returns:
        (V, 3): x and y in the picture plane, y *down*, and z to the viewer, all in the model's units.
    """
    pitch, yaw, roll = angles
    turn = cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0]
    turn = cv2.Rodrigues(np.array([0.0, 0.0, -roll]))[0] @ turn
    seen = vertices @ turn.T.astype(np.float32)
    seen[:, :2] *= DISTANCE / (DISTANCE - seen[:, 2:])
    seen[:, 1] *= -1
    return seen


@dataclass(frozen=True, eq=False)
class Raster:
    """What each pixel of a picture sees.

    Attributes:
        pixels: Flat indices (N,) of the pixels that see the mesh.
        corners: The vertices (N, 3) of the triangle seen.
        shares: Their shares (N, 3), summing to 1.
        shape: Height and width.
    """

    pixels: np.ndarray
    corners: np.ndarray
    shares: np.ndarray
    shape: tuple[int, int]

    def spread(self, values: np.ndarray, empty: float = 0.0) -> np.ndarray:
        """Interpolate values at the vertices (V, C) over the picture: float32 (H, W, C), ``empty`` off the mesh."""
        picture = np.full((self.shape[0] * self.shape[1], values.shape[1]), empty, np.float32)
        seen = 0
        for corner, share in zip(self.corners.T, self.shares.T, strict=True):
            part = values.take(corner, axis=0)  # twice as fast as an index
            part *= share[:, None]
            seen = seen + part
        picture[self.pixels] = seen
        return picture.reshape(*self.shape, -1)

    def covered(self) -> np.ndarray:
        """Where the mesh is seen, bool (H, W)."""
        covered = np.zeros(self.shape[0] * self.shape[1], bool)
        covered[self.pixels] = True
        return covered.reshape(self.shape)


def rasterise(points: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]) -> Raster:
    """Find which triangle each pixel sees, all triangles at once, by a z-buffer.

    The triangles of this mesh are about the size of a pixel, so the pixels of all bounding boxes are listed and tested
    together; triangles seen from behind are left out.

    Args:
        points: (V, 3): x, y in pixels (the centre of the first pixel is 0, 0), z to the viewer.
        triangles: (T, 3), counter-clockwise seen from outside with y up.
        shape: Height and width of the picture.
    """
    height, width = shape
    x, y, z = np.ascontiguousarray(points.T, np.float32)
    a, b, c = triangles.T
    xa, ya, xb, yb, xc, yc = x[a], y[a], x[b], y[b], x[c], y[c]
    area = (xc - xa) * (yb - ya) - (xb - xa) * (yc - ya)  # y is down: positive seen from outside
    left = np.ceil(np.minimum(np.minimum(xa, xb), xc).clip(0, width)).astype(np.int32)
    right = np.floor(np.maximum(np.maximum(xa, xb), xc).clip(-1, width - 1)).astype(np.int32)
    top = np.ceil(np.minimum(np.minimum(ya, yb), yc).clip(0, height)).astype(np.int32)
    bottom = np.floor(np.maximum(np.maximum(ya, yb), yc).clip(-1, height - 1)).astype(np.int32)
    keep = np.flatnonzero((area > 1e-9) & (right >= left) & (bottom >= top))

    xa, ya, xb, yb, xc, yc, left, top, right, bottom = (
        v[keep] for v in (xa, ya, xb, yb, xc, yc, left, top, right, bottom))
    inverse = 1 / area[keep]
    # The shares of b and c are affine in the pixel: value at the box's corner, step to the right, step down.
    share_b = np.stack([(left - xa) * (ya - yc) + (top - ya) * (xc - xa), ya - yc, xc - xa]) * inverse
    share_c = np.stack([(left - xa) * (yb - ya) + (top - ya) * (xa - xb), yb - ya, xa - xb]) * inverse
    share_b, share_c = share_b.astype(np.float32), share_c.astype(np.float32)
    start = top * width + left
    boxes = (bottom - top) * width + right - left  # height - 1, width - 1 in one number

    found = []
    for box in np.unique(boxes):
        some = np.flatnonzero(boxes == box)
        rows, columns = np.divmod(np.arange(box // width * width + width, dtype=np.int32), width)
        inner = columns <= box % width
        rows, columns = rows[inner], columns[inner]
        step = np.stack([np.ones_like(rows), columns, rows]).astype(np.float32)
        b, c = share_b[:, some].T @ step, share_c[:, some].T @ step
        b, c = b.ravel(), c.ravel()
        inside = np.flatnonzero((b >= -EDGE) & (c >= -EDGE) & (b + c <= 1 + EDGE))
        which, pixel = np.divmod(inside, len(rows))
        some = some[which]
        found.append((some, start[some] + (rows * width + columns)[pixel], b[inside], c[inside]))
    which, pixels, b, c = (np.concatenate(v) for v in zip(*found, strict=True))
    corners = triangles[keep[which]]
    depth = z[corners[:, 0]] * (1 - b - c) + z[corners[:, 1]] * b + z[corners[:, 2]] * c
    nearest = np.full(height * width, -np.inf, np.float32)
    np.maximum.at(nearest, pixels, depth)
    front = np.flatnonzero(depth >= nearest[pixels])
    b, c = b[front], c[front]
    return Raster(pixels[front], corners[front], np.stack([1 - b - c, b, c], 1), (height, width))


def shade(
        points: np.ndarray,
        triangles: np.ndarray,
        light: tuple[float, float, float] = (0.0, -0.45, 0.9),
        ambient: float = 0.45,
) -> np.ndarray:
    """Light at each vertex (V, 1): ambient and Lambert's, 1 where the surface faces the light.

    Args:
        points: (V, 3), y down, z to the viewer (``pose_head``).
        triangles: (T, 3).
        light: Direction to the light, y down.
        ambient: Share of the light that comes from everywhere.
    """
    a, b, c = (points[triangles[:, i]] for i in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    faces = (uz * vy - uy * vz, ux * vz - uz * vx, uy * vx - ux * vy)  # y is down, so the cross product turns round
    corners = triangles.T.ravel()
    normals = np.stack([np.bincount(corners, np.tile(n, 3), len(points)) for n in faces], 1).astype(np.float32)
    normals /= np.maximum(np.sqrt((normals * normals).sum(1, keepdims=True)), 1e-9)
    direction = np.array(light, np.float32) / np.linalg.norm(light)
    return ambient + (1 - ambient) * np.maximum(normals @ direction, 0)[:, None]


def occlusion(depth: np.ndarray, covered: np.ndarray, scale: float) -> np.ndarray:
    """Ambient occlusion in the picture: how much darker a hollow is than what surrounds it, (H, W) in (0, 1].

    Args:
        depth: z to the viewer (H, W), the model's units.
        covered: Where there is a surface.
        scale: Pixels for one of the model's units.
    """
    weight = covered.astype(np.float32)
    light = np.ones(depth.shape, np.float32)
    for radius in (0.25, 0.8):
        sigma = radius * scale
        mean = cv2.GaussianBlur(depth * weight, (0, 0), sigma) / np.maximum(
            cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
        light *= np.exp(-HOLLOW / radius * np.maximum(mean - depth, 0))
    return np.where(covered, light, 1)


#: Pixels of the texture for one of the model's units, and where its origin lies: the skin is painted on the frontal
#: view of the mean head; to its right the eyeballs, on the same scale, and patches of one colour.
DENSITY, ORIGIN, TILE = 20, (200, 260), (480, 400)
PATCHES = {GUMS: (420, 440), TEETH: (460, 440)}
HAIR = (500, 440)


def texture_coordinates(model: IctModel) -> np.ndarray:
    """Where in the texture each vertex lies (V, 2), pixels."""
    where = model.vertices[:, :2] * (DENSITY, -DENSITY) + ORIGIN
    where = where.clip(0, (TILE[1] - 1, TILE[0] - 1))
    where[np.isin(model.materials, EYES), 0] += TILE[1]
    for material, place in PATCHES.items():
        where[model.materials == material] = place
    return where.astype(np.float32)


def hair_cover(model: IctModel) -> np.ndarray:
    """How much hair covers each vertex (V, 1): the top and back of the head, down to a hairline."""
    _, y, z = model.vertices.T
    front = (y - 10.2) / 1.5
    back = np.where(model.materials == HEAD, (y + 1.5 - 0.5 * z) / 3, 0)
    share = np.maximum(front, back).clip(0, 1)
    return np.where(model.materials <= HEAD, share, 0)[:, None].astype(np.float32)


def paint_face(model: IctModel, rng: np.random.Generator) -> np.ndarray:
    """A person's texture, RGB float32 (480, 800, 3) in 0..255: skin, brows, lips, irises; laid out for
    ``texture_coordinates``."""
    height, width = TILE
    tone = rng.uniform(0, 1) ** 1.3
    skin = (1 - tone) * np.array([232, 190, 165]) + tone * np.array([110, 70, 50])
    skin += rng.normal(0, (2, 3, 3)) + rng.normal(0, 4)
    hair = skin * rng.uniform(0.12, 0.62) if tone < 0.6 else skin * rng.uniform(0.1, 0.3)
    texture = np.empty((height, 2 * width, 3), np.float32)
    texture[:, :width] = skin
    mottle = sum(
        amount * cv2.resize(rng.standard_normal((height // step, width // step)).astype(np.float32), (width, height),
                            interpolation=cv2.INTER_CUBIC)
        for step, amount in ((40, 0.025), (10, 0.02), (3, 0.02))
    )
    texture[:, :width] *= 1 + mottle[..., None]

    marks = model.vertices[model.landmarks, :2] * (DENSITY, -DENSITY) + ORIGIN
    _paint_features(texture[:, :width], marks, skin, hair, rng)
    _paint_eyeballs(texture[:, width:], model, rng)
    for (x, y), colour in ((PATCHES[GUMS], (120, 48, 48)), (PATCHES[TEETH], (225, 216, 200)), (HAIR, hair)):
        texture[y - 15 : y + 16, x - 15 : x + 16] = colour
    return texture


def _paint_features(
        tile: np.ndarray,
        marks: np.ndarray,
        skin: np.ndarray,
        hair: np.ndarray,
        rng: np.random.Generator,
) -> None:
    """Cheeks, lips, eyes' edges, brows, perhaps a beard, by the 68 landmarks in the tile."""
    cheeks = np.zeros(TILE, np.uint8)
    for side in (-1, 1):
        cheek = np.add(ORIGIN, (side * 4 * DENSITY, 0.4 * DENSITY))
        cv2.circle(cheeks, np.round(cheek).astype(int).tolist(), round(1.6 * DENSITY), 255, -1)
    cv2.circle(cheeks, np.round(marks[30]).astype(int).tolist(), round(1.0 * DENSITY), 255, -1)
    _blend(tile, cheeks, skin * (1.02, 0.82, 0.8), 0.8, rng.uniform(0.2, 0.7))
    lips = skin * np.array([0.93, 0.62, 0.62]) * rng.uniform(0.8, 1.05)
    _blend(tile, _fill(marks[48:60]), lips, 0.08, rng.uniform(0.6, 1))
    _blend(tile, _line(marks[60:65], 0.08), skin * 0.35, 0.05, 0.8)
    for eye in (marks[36:42], marks[42:48]):
        _blend(tile, _line(eye[:4], 0.14), hair * 0.4, 0.05, 0.85)
        _blend(tile, _line(eye[[3, 4, 5, 0]], 0.08), skin * 0.45, 0.05, 0.5)
        _blend(tile, _line(eye[:4] - (0, 0.45 * DENSITY), 0.12), skin * 0.55, 0.1, rng.uniform(0.1, 0.5))
    thick, dark = rng.uniform(0.4, 0.75), rng.uniform(0.6, 0.95)
    for brow in (marks[17:22], marks[22:27]):
        # The landmarks lie on the brow ridge's upper edge, above where brows grow.
        _blend(tile, _line(brow + (0, 0.6 * DENSITY), thick), hair, 0.12, dark)
    if rng.uniform() < 0.3:
        jaw = np.concatenate([marks[3:14], marks[[54, 55, 57, 59, 48]] + (0, 0.3 * DENSITY)])
        _blend(tile, _fill(jaw), (skin + hair) / 2, 0.5, rng.uniform(0.1, 0.4))


def _paint_eyeballs(tile: np.ndarray, model: IctModel, rng: np.random.Generator) -> None:
    tile[:] = rng.uniform(205, 235) * np.array([1, 0.98, 0.96])
    iris = np.array([[90, 60, 35], [60, 40, 25], [95, 115, 130], [90, 110, 80]][rng.integers(4)], float)
    iris *= rng.uniform(0.7, 1.1)
    for material in EYES:
        ball = model.vertices[model.materials == material]
        centre = (ball.max(0) + ball.min(0))[:2] / 2 * (DENSITY, -DENSITY) + ORIGIN
        for radius, colour in ((0.62, iris * 0.6), (0.55, iris), (0.24, iris * 0.12)):
            where = tuple(np.round(centre * 16).astype(int).tolist())
            cv2.circle(tile, where, round(radius * DENSITY * 16), colour.tolist(), -1, cv2.LINE_AA, 4)


def _blend(tile: np.ndarray, mask: np.ndarray, colour: np.ndarray, blur: float, amount: float) -> None:
    """Lay a colour over a tile where a mask is, its edge blurred (the model's units)."""
    height, width = TILE
    left, top, columns, rows = cv2.boundingRect(mask)
    pad = round(3 * blur * DENSITY)
    window = (slice(max(top - pad, 0), min(top + rows + pad, height)),
              slice(max(left - pad, 0), min(left + columns + pad, width)))
    share = cv2.GaussianBlur(mask[window], (0, 0), blur * DENSITY)[..., None] * np.float32(amount / 255)
    tile[window] += share * (np.asarray(colour, np.float32) - tile[window])


def _line(points: np.ndarray, thickness: float) -> np.ndarray:
    """Mask of a line through points in the tile, its thickness in the model's units."""
    mask = np.zeros(TILE, np.uint8)
    width = max(round(thickness * DENSITY), 1)
    cv2.polylines(mask, [np.round(points * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    return mask


def _fill(points: np.ndarray) -> np.ndarray:
    """Mask of a polygon in the tile."""
    mask = np.zeros(TILE, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask


def render(
        model: IctModel,
        seen: np.ndarray,
        matrix: np.ndarray,
        size: int,
        texture: np.ndarray,
        background: np.ndarray,
        light: tuple[float, float, float] = (0.0, -0.45, 0.9),
        ambient: float = 0.45,
        strength: float = 1.0,
) -> np.ndarray:
    """Render a posed head.

    Args:
        seen: (V, 3), what ``pose_head`` gave.
        matrix: (2, 3), similarity from the picture plane to pixels.
        size: Height and width of the picture in pixels.
        texture: What ``paint_face`` gave.
        background: RGB (size, size, 3), 0..255.
        light: Direction to the light, y down.
        ambient: Share of the light that comes from everywhere.
        strength: Factor of the light on the head.

    Returns:
        RGB uint8 (size, size, 3).
    """
    scale = np.hypot(*matrix[:, 0])
    points = np.empty_like(seen)
    points[:, :2] = (seen[:, :2] @ matrix[:, :2].T + matrix[:, 2] + 0.5) * SAMPLES - 0.5
    points[:, 2] = seen[:, 2]
    raster = rasterise(points, model.triangles, (size * SAMPLES, size * SAMPLES))
    values = np.hstack([texture_coordinates(model), shade(seen, model.triangles, light, ambient), seen[:, 2:],
                        hair_cover(model)])
    picture = raster.spread(values)
    covered = raster.covered()
    # Hollows are soft: found at the size of the picture, not of its samples.
    depth, surface = (cv2.resize(v, (size, size), interpolation=cv2.INTER_NEAREST)
                      for v in (picture[..., 3], covered.view(np.uint8)))
    hollow = occlusion(depth, surface > 0, scale)
    bright = strength * picture[..., 2] * cv2.resize(hollow, covered.shape[::-1], interpolation=cv2.INTER_LINEAR)
    colour = cv2.remap(texture, picture[..., 0], picture[..., 1], cv2.INTER_LINEAR)
    colour += picture[..., 4:] * (texture[HAIR[1], HAIR[0]] - colour)
    colour *= bright[..., None]
    colour = cv2.resize(colour * covered[..., None], (size, size), interpolation=cv2.INTER_AREA)
    share = cv2.resize(covered.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)[..., None]
    return np.rint(colour + (1 - share) * background).clip(0, 255).astype(np.uint8)
