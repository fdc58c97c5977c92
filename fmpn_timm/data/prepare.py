"""Prepared sets: faces found and aligned once, in Parquet shards that training and Hugging Face `datasets` read.

A prepared set is a folder with ``prepared.json``, ``data/<split>-00000-of-00012.parquet``, ``skipped.csv`` and for each
split a contact sheet ``<split>.png``. A shard appears under its name only when it is complete, so that a run that was
stopped goes on where it was; shards with pictures that could not be read are then made again.
"""

import csv
import hashlib
import io
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from fmpn_timm.errors import InputError
from fmpn_timm.faces import AlignedFace, AlignedFaces, FaceAligner
from fmpn_timm.faces.aligner import no_landmarks
from fmpn_timm.files import whole, write_json
from fmpn_timm.launched import place, wait

from .samples import FaceSet, Sample, relative_source
from .sheet import draw_contact_sheet

__all__ = ["decode_face", "is_utf8", "prepare_faces", "read_face", "read_info", "require_pyarrow", "stored_split"]

#: Rows that are read together; small, so that a single face is read from a shard quickly.
ROW_GROUP = 16
#: Pictures that are decoded and looked at together: so many, or of so many bytes (a photo of a phone has 36 million).
BATCH, BATCH_BYTES = 32, 144_000_000
SHOWN = 10  # faces of each class on the contact sheet


def stored_split(faces: FaceSet) -> str:
    """The name of a split in a prepared set; all of what has no splits is ``train``."""
    return "train" if faces.split == "all" else faces.split  # `all` is a reserved name in `datasets`


def prepare_faces(
        faces: FaceSet,
        out: str | Path,
        aligner: FaceAligner | None = None,
        folds: dict[str, int] | None = None,
        root: str | Path | None = None,
        shard_size: int = 1024,
        workers: int = 0,
        progress: bool = True,
) -> dict[str, Any]:
    """Write a split of a data set as a prepared set.

    Processes that a launcher has started together (``accelerate launch``, ``torchrun``) share the shards.

    Args:
        faces: The split, read from its owner's folders.
        out: Folder of the prepared set; other splits of the same data set may be in it already.
        aligner: Finds and aligns the faces; None to take the pictures as they are.
        folds: Number of the fold each sample is tested in, by its ``source``.
        root: Folder of the data set; sources are written relative to it.
        shard_size: Samples of a shard.
        workers: Processes; 0 works in this one.
        progress: Show a progress bar on stderr.

    Returns:
        The split's entry in ``prepared.json``: ``samples``, ``skipped``, ``per_class``, ``shards`` ...

    Raises:
        InputError: ``out`` holds a split of this name made otherwise, a file has a name that is no UTF-8, landmarks
            that the aligner takes are not there, ``shard_size`` or ``workers`` is out of range, or no face was found
            in any picture.
    """
    require_pyarrow()
    if shard_size < 1 or workers < 0:
        raise InputError(f"shard_size {shard_size}, workers {workers}: give at least one sample a shard, and 0 or more "
                         "workers.")
    out, split = Path(out), stored_split(faces)
    recipe = aligner.recipe if aligner else faces.recipe
    everything = [(s, False) for s in faces.samples] + [(s, True) for s in faces.neutral]
    odd = next((s.source for s, _ in everything if not is_utf8(s.source)), None)
    if odd is not None:
        raise InputError(f"{ascii(odd)}: the name of this file is no UTF-8. Rename it.")
    unmarked = next((s.source for s, _ in everything if s.landmarks is None), None)
    if aligner and aligner.given and unmarked is not None:  # said before anything is written
        raise no_landmarks(unmarked)
    chunks = [everything[i:i + shard_size] for i in range(0, len(everything), shard_size)]
    paths = [out / "data" / f"{split}-{i:05d}-of-{len(chunks):05d}.parquet" for i in range(len(chunks))]
    text = json.dumps([recipe and recipe.hash, faces.classes, shard_size, aligner and (aligner.policy, aligner.missing),
                       folds and {relative_source(source, root): n for source, n in folds.items()},
                       [(relative_source(s.source, root), s.expression) for s, _ in everything]], sort_keys=True)
    entry = {"split": faces.split, "options": json.loads(json.dumps(faces.options)), "shards": [p.name for p in paths],
             "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16], "complete": False}
    rank, processes = place()
    if rank == 0:
        info = _start(out, split, entry, faces, recipe and recipe.as_dict())
        (out / "data").mkdir(parents=True, exist_ok=True)
    wait(processes)
    write = partial(_write_shard, classes=faces.classes, aligner=aligner, recipe=recipe and recipe.hash,
                    folds=folds or {}, root=root)
    mine = list(zip(paths, chunks, strict=True))[rank::processes]
    todo = [(path, chunk) for path, chunk in mine if not _is_done(path)]
    total = sum(len(chunk) for _, chunk in mine)
    done = total - sum(len(chunk) for _, chunk in todo)
    show = None if progress and rank == 0 else True
    with tqdm(total=total, initial=done, desc=f"prepare {split}", unit="face", disable=show) as bar:
        for count in _map(write, todo, workers):
            bar.update(count)

    wait(processes)
    if rank == 0:
        _finish(info, entry, split, out, paths, faces, len(everything))
    wait(processes)
    return read_info(out)["splits"][split]


def _start(out: Path, split: str, entry: dict, faces: FaceSet, recipe: dict | None) -> dict[str, Any]:
    """What ``prepared.json`` says before the first shard, or already says."""
    path = out / "prepared.json"
    info = read_info(out) if path.is_file() else None
    if info is None and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and no prepared set: give a new folder.")
    mine = {"dataset": faces.dataset, "classes": list(faces.classes), "recipe": recipe}
    if info is None or not info["splits"]:
        info = {**mine, "splits": {}}
    owns = {"dataset": "another data set", "classes": "other classes", "recipe": "another recipe"}
    differ = [what for k, what in owns.items() if info[k] != mine[k]]
    there, kinds = info["splits"].get(split, entry), {"fingerprint": "samples", "options": "reader options"}
    differ += [f"other {what} of split {split}" for k, what in kinds.items() if there[k] != entry[k]]
    if differ:
        raise InputError(f"{out} was prepared with {', '.join(differ)}: give the same options, or a new folder.")
    info["splits"][split] = entry
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, info)
    return info


def _map(write: partial, todo: Sequence[tuple[Path, list]], workers: int) -> Iterator[int]:
    if workers == 0:
        yield from (write(path, chunk) for path, chunk in todo)
        return
    # spawned, not forked: OpenCV's and torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(write, path, chunk) for path, chunk in todo]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_shard(
        path: Path,
        chunk: Sequence[tuple[Sample, bool]],
        *,
        classes: tuple[str, ...],
        aligner: FaceAligner | None,
        recipe: str | None,
        folds: dict[str, int],
        root: str | Path | None,
) -> int:
    """Align a shard's faces and write them; what was skipped goes into the shard's own metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, skipped = [], []
    for opened, found in _aligned(chunk, aligner):
        sample, source = opened.sample, relative_source(opened.sample.source, root)
        if found.reason:
            skipped.append({"source": source, "reason": found.reason, "kept": bool(found),
                            "broken": opened.picture is None})
        rows += [
            {
                "image": {"bytes": _png(face.image), "path": None},
                "label": classes.index(sample.expression) if sample.expression in classes else -1,
                "expression": sample.expression,
                "votes": sample.votes,
                "subject": sample.subject,
                "sequence": sample.sequence,
                "frame": sample.frame,
                "reference": opened.reference,
                "fold": folds.get(sample.source),
                "box": face.box.tolist(),
                "landmarks": None if face.landmarks is None else face.landmarks.tolist(),
                "score": face.score,
                "source": source,
                "recipe": recipe,
            }
            for face in found
        ]
    schema = _schema(classes)
    schema = schema.with_metadata({**schema.metadata, b"fmpn.skipped": json.dumps(skipped).encode()})
    table = pa.Table.from_pylist(rows, schema=schema)
    plain = [name for name in schema.names if name != "image"]  # pictures do not repeat, a dictionary of them is waste
    with whole(path) as partial_path:
        pq.write_table(
            table, partial_path, row_group_size=ROW_GROUP, compression={"image.bytes": "none"}, use_dictionary=plain
        )
    return len(chunk)


class _Opened(NamedTuple):
    """A sample with its picture, and the landmarks if its data set gives any; or why it cannot be read."""

    sample: Sample
    reference: bool
    picture: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    problem: str = ""


def _aligned(
        chunk: Sequence[tuple[Sample, bool]],
        aligner: FaceAligner | None,
) -> Iterator[tuple[_Opened, AlignedFaces]]:
    """Each sample with its faces, or the reason that it has none."""
    batch, pixels = [], 0
    for sample, reference in chunk:
        opened = _open(sample, reference, aligner)
        batch.append(opened)
        pixels += 0 if opened.picture is None else opened.picture.size
        if len(batch) == BATCH or pixels >= BATCH_BYTES:
            yield from _aligned_batch(batch, aligner)
            batch, pixels = [], 0
    yield from _aligned_batch(batch, aligner)


def _open(sample: Sample, reference: bool, aligner: FaceAligner | None) -> _Opened:
    landmarks = None
    try:
        landmarks = sample.landmarks() if sample.landmarks is not None else None
    except InputError as error:
        if aligner is not None and aligner.given:  # a detector, or faces as they are, do without
            return _Opened(sample, reference, problem=str(error))
    try:
        return _Opened(sample, reference, sample.picture(), landmarks)
    except InputError as error:
        return _Opened(sample, reference, problem=str(error))


def _aligned_batch(
        batch: Sequence[_Opened],
        aligner: FaceAligner | None,
) -> Iterator[tuple[_Opened, AlignedFaces]]:
    readable = [opened for opened in batch if opened.picture is not None]
    pictures, landmarks = [opened.picture for opened in readable], [opened.landmarks for opened in readable]
    if aligner is None:
        found = map(_as_is, pictures, landmarks)
    else:
        found = iter(aligner(pictures, landmarks, [opened.sample.source for opened in readable]))
    for opened in batch:
        yield opened, AlignedFaces(reason=opened.problem) if opened.picture is None else next(found)


def _as_is(picture: np.ndarray, landmarks: np.ndarray | None) -> AlignedFaces:
    """The whole picture as the face."""
    box = np.array([0, 0, picture.shape[1], picture.shape[0]], np.float32)
    return AlignedFaces([AlignedFace(picture, box, landmarks, float(landmarks is not None))])


def _schema(classes: tuple[str, ...]):
    """The columns, as `datasets` knows them: pictures are decoded and labels have names."""
    import pyarrow as pa

    def value(dtype: str) -> dict:
        return {"dtype": dtype, "_type": "Value"}

    kinds = {
        "image": (pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}),
        "label": (pa.int64(), {"names": list(classes), "_type": "ClassLabel"}),
        "expression": (pa.string(), value("string")),
        "votes": (pa.list_(pa.float32()), {"feature": value("float32"), "_type": "List"}),
        "subject": (pa.string(), value("string")),
        "sequence": (pa.string(), value("string")),
        "frame": (pa.int32(), value("int32")),
        "reference": (pa.bool_(), value("bool")),
        "fold": (pa.int32(), value("int32")),
        "box": (pa.list_(pa.float32()), {"feature": value("float32"), "_type": "List"}),
        "landmarks": (pa.list_(pa.list_(pa.float32())),
                      {"feature": {"feature": value("float32"), "_type": "List"}, "_type": "List"}),
        "score": (pa.float32(), value("float32")),
        "source": (pa.string(), value("string")),
        "recipe": (pa.string(), value("string")),
    }
    features = {"info": {"features": {name: feature for name, (_, feature) in kinds.items()}}}
    return pa.schema({name: kind for name, (kind, _) in kinds.items()}, {b"huggingface": json.dumps(features).encode()})


def _png(image: np.ndarray) -> bytes:
    grey = (image[..., :1] == image).all()  # a third of the bytes
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if grey else image).save(buffer, "png")
    return buffer.getvalue()


def _finish(
        info: dict[str, Any],
        entry: dict[str, Any],
        split: str,
        out: Path,
        paths: Sequence[Path],
        faces: FaceSet,
        pictures: int,
) -> None:
    """Count what all shards hold, draw the contact sheet, and say that the split is complete."""
    entry |= _summary(paths, faces.classes)
    _write_skipped(out, info["splits"])
    if not entry["samples"]:  # nothing of it stays, so that the next try may have other options
        for path in paths:
            path.unlink()
        del info["splits"][split]
        write_json(out / "prepared.json", info)
        raise InputError(f"{faces.dataset} {faces.split}: no face in any of {pictures} pictures, see "
                         f"{out / 'skipped.csv'}. Is the detector the right one? --as-is takes pictures as they are.")
    draw_contact_sheet(_examples(paths, faces.classes), out / f"{split}.png", f"{faces.dataset} {faces.split}")
    info["splits"][split] = entry | {"complete": True}
    write_json(out / "prepared.json", info)


def _summary(paths: Sequence[Path], classes: tuple[str, ...]) -> dict[str, Any]:
    """Counts over all shards of a split."""
    import pyarrow.parquet as pq

    labels, skipped, references = [], [], 0
    for path in paths:
        table = pq.read_table(path, columns=["label", "reference"])
        reference = table["reference"].to_numpy()
        labels.append(table["label"].to_numpy()[~reference])
        references += int(reference.sum())
        skipped += _skipped(path)
    labels = np.concatenate(labels)
    return {"samples": len(labels), "references": references, "skipped": sum(not s["kept"] for s in skipped),
            "centered": sum(s["kept"] for s in skipped),
            "per_class": {name: int((labels == k).sum()) for k, name in enumerate(classes)}}


def _skipped(path: Path) -> list[dict[str, Any]]:
    """What a shard lacks, or cuts from the middle."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(path).metadata or {}
    if b"fmpn.skipped" not in metadata:
        raise InputError(f"{path} was not written by `fmpn data prepare`. Move it away, or give another folder.")
    return json.loads(metadata[b"fmpn.skipped"])


def _is_done(path: Path) -> bool:
    """Whether a shard is there, whole, and all its pictures could be read."""
    import pyarrow as pa

    try:
        return path.is_file() and not any(skipped.get("broken") for skipped in _skipped(path))
    except (OSError, pa.ArrowInvalid):
        return False


def _write_skipped(out: Path, splits: dict[str, dict]) -> None:
    """``skipped.csv``: what the shards of all splits lack, or cut from the middle."""
    with whole(out / "skipped.csv") as partial_path, open(partial_path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["split", "source", "reason", "kept"], extrasaction="ignore")
        writer.writeheader()
        for split, entry in splits.items():
            paths = [out / "data" / name for name in entry["shards"]]
            writer.writerows({"split": split, **s} for path in paths if path.is_file() for s in _skipped(path))


def _examples(paths: Sequence[Path], classes: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
    """Some faces of each class, spread over the shards."""
    import pyarrow.parquet as pq

    places = {name: [] for name in classes}
    for path in paths:
        for row, face in enumerate(pq.read_table(path, columns=["label", "reference"]).to_pylist()):
            if not face["reference"]:
                places[classes[face["label"]]].append((path, row))
    examples = {}
    for name, of_class in places.items():
        chosen = of_class[:: max(len(of_class) // SHOWN, 1)][:SHOWN]
        examples[name] = [read_face(pq.ParquetFile(path), row) for path, row in chosen]
    return examples


def read_face(shard, row: int) -> np.ndarray:
    """A face of an open shard, RGB uint8 (H, W, 3).

    Args:
        shard: A ``pyarrow.parquet.ParquetFile``.
        row: Its row in the shard.
    """
    # A thread pool costs more than so small a read.
    group = shard.read_row_group(row // ROW_GROUP, columns=["image.bytes"], use_threads=False)
    return decode_face(group["image"][row % ROW_GROUP]["bytes"].as_py())


def decode_face(png: bytes) -> np.ndarray:
    """A face as a shard holds it, as RGB uint8 (H, W, 3).

    Raises:
        InputError: It is damaged.
    """
    # OpenCV decodes such small PNGs in two thirds of Pillow's time
    face = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if face is None:
        raise InputError("A face in a shard is damaged: remove the shard and run the same `fmpn data prepare` again.")
    return cv2.cvtColor(face, cv2.COLOR_BGR2RGB)


def read_info(root: Path) -> dict[str, Any]:
    """What ``prepared.json`` of a prepared set says.

    Raises:
        InputError: There is none, or it is damaged.
    """
    path = root / "prepared.json"
    if not path.is_file():
        raise InputError(f"{root} holds no prepared.json: give the folder that `fmpn data prepare` wrote.")
    try:
        info = json.loads(path.read_text())
        if {"dataset", "classes", "recipe", "splits"} <= info.keys():
            return info
        problem = "it lacks entries"
    except (ValueError, AttributeError) as error:
        problem = str(error)
    raise InputError(f"{path} is damaged ({problem}): get it again, or prepare the set anew in another folder.")


def is_utf8(name: str) -> bool:
    """Whether the name of a file, as Python has it, can be written as UTF-8, which shards ask for."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_pyarrow() -> None:
    """Say what to install where pyarrow is missing.

    Raises:
        InputError: It is.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError('Prepared sets need pyarrow: pip install "fmpn-timm[data]".') from None
