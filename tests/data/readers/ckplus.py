"""A folder in the layout of CK+."""

from collections.abc import Sequence
from pathlib import Path

from tests.data.readers.base import write_picture

#: Subject, sequence, number of pictures, code (None: not labelled).
SEQUENCES = [("S005", "001", 6, 3), ("S010", "001", 7, None), ("S010", "002", 5, 7), ("S010", "004", 12, 1),
             ("S130", "013", 5, 2), ("S999", "001", 4, 5)]


def write_ckplus(
        root: Path,
        images: str = "cohn-kanade-images",
        labels: str = "Emotion",
        sequences: Sequence[tuple[str, str, int, int | None]] = SEQUENCES,
) -> Path:
    """Write its folders, of pictures of noise."""
    for subject, sequence, count, code in sequences:
        stem = f"{subject}_{sequence}"
        for n in range(1, count + 1):
            write_picture(root / images / subject / sequence / f"{stem}_{n:08d}.png", seed=n)
        if code is not None:
            path = root / labels / subject / sequence / f"{stem}_{count:08d}_emotion.txt"
            path.parent.mkdir(parents=True)
            path.write_text(f"   {code:.7e}\n")
    (root / labels / "S010" / "001").mkdir(parents=True, exist_ok=True)  # there without a file, as in the archive
    return root
