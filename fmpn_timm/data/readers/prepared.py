"""Prepared sets: what `fmpn data prepare` wrote, of any data set."""

import os
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from fmpn_timm.data.prepare import decode_face, read_face, read_info, require_pyarrow
from fmpn_timm.data.samples import FaceSet, Sample
from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe

__all__ = ["prepared_folds", "read_prepared"]

#: Bytes of a split whose shards are kept in memory, by every process that reads them.
KEPT = 2**28


def read_prepared(root: str | Path, split: str = "train", fold: int | None = None) -> FaceSet:
    """Read a split of a prepared set; pictures stay in the shards until they are asked for.

    Of a small split, shards are then read whole and kept as they are, compressed; of others one face after the other.

    Args:
        root: Folder of the prepared set.
        split: Name of a split in it; with ``fold`` ``train`` (all but the fold) or ``test`` (the fold).
        fold: Number of a fold, for sets that were prepared with folds.

    Raises:
        InputError: No prepared set, an unfinished one, no such split or fold, or pyarrow is missing.
    """
    if fold is None:
        return _read(Path(root), split)[0]
    if split not in ("train", "test"):
        raise InputError(f"{root}: with fold={fold} there are the splits train and test, not {split!r}.")
    folds = prepared_folds(root)
    if fold not in folds:
        known = ", ".join(map(str, folds)) or "none"
        raise InputError(f"{root} has no fold {fold}; its folds: {known}. Prepare it with --protocol.")
    train, test = folds[fold]
    return train if split == "train" else test


def prepared_folds(root: str | Path) -> dict[int, tuple[FaceSet, FaceSet]]:
    """Train and test side of each fold that a prepared set was prepared with, ascending; none if it has none.

    Raises:
        InputError: No prepared set, an unfinished one, or pyarrow is missing.
    """
    faces, fold_of = _read(Path(root))

    def side(n: int, split: str) -> FaceSet:
        of_fold = replace(faces, options={**faces.options, "fold": n})
        return of_fold.where(lambda sample: (fold_of[sample.source] == n) == (split == "test"), split)

    numbers = sorted(set(fold_of.values()) - {None})
    return {n: (side(n, "train"), side(n, "test")) for n in numbers}


def _read(root: Path, split: str | None = None) -> tuple[FaceSet, dict[str, int | None]]:
    """A split, the first if None, and the fold of each of its sources."""
    require_pyarrow()
    info = read_info(root)
    if not info["splits"]:
        raise InputError(f"{root} holds no finished split. Run `fmpn data prepare` again.")
    split = next(iter(info["splits"])) if split is None else split
    if split not in info["splits"]:
        raise InputError(f"{root} has no split {split!r}, only {', '.join(info['splits'])}.")
    entry = info["splits"][split]
    if not entry["complete"]:
        raise InputError(f"{root}: split {split} is not finished. Run the same `fmpn data prepare` again.")
    shards = [root / "data" / name for name in entry["shards"]]
    kept = sum(path.stat().st_size for path in shards if path.is_file()) <= KEPT
    samples, neutral, folds = [], [], {}
    for path in shards:
        for row, values in enumerate(_rows(path)):
            sample = Sample(
                source=values["source"],
                picture=partial(_picture, str(path), row, kept),
                expression=values["expression"],
                subject=values["subject"],
                sequence=values["sequence"],
                frame=values["frame"],
                votes=tuple(values["votes"]) if values["votes"] else None,
            )
            folds[sample.source] = values["fold"]
            (neutral if values["reference"] else samples).append(sample)
    recipe = info["recipe"] and Recipe.from_dict(info["recipe"])
    classes = tuple(info["classes"])
    return FaceSet(info["dataset"], split, classes, tuple(samples), entry["options"], tuple(neutral), recipe), folds


def _rows(path: Path) -> list[dict]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["source", "expression", "subject", "sequence", "frame", "votes", "fold", "reference"]
    try:
        return pq.read_table(path, columns=columns).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        mend = "Remove it and run the same `fmpn data prepare` again."
        raise InputError(f"{path} is missing or broken ({error}). {mend}") from error


def _picture(path: str, row: int, kept: bool) -> np.ndarray:
    return decode_face(_faces(path)[row].as_py()) if kept else read_face(_shard(path, os.getpid()), row)


@cache
def _faces(path: str):
    """All faces of a shard, as it holds them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as shard:
        return shard.read(columns=["image.bytes"])["image"].combine_chunks().field("bytes")


@lru_cache(maxsize=256)
def _shard(path: str, process: int):
    """An open shard; each process has its own, as a file's position is shared over a fork."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, memory_map=True)
