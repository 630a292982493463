"""Photos as files: drawn for the benchmark, and read for peers that bring no reader along.

``python photos.py draw FOLDER COUNT SIZE`` and ``python photos.py few FOLDER TARGET BATCH``
do what the functions of those names do, and need minidl.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["batches", "draw", "few"]


def draw(folder: str, count: int, size: int) -> None:
    """Draw cats and dogs into ``folder/cats`` and ``folder/dogs``, as JPEG files (needs minidl)."""
    from minidl.datasets.cartoon_pets import cartoon_pets

    for kind in ("cats", "dogs"):
        Path(folder, kind).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(*cartoon_pets(count, size), strict=True)):
        Image.fromarray(image).save(Path(folder, ("cats", "dogs")[label], f"{i}.jpg"), quality=90)


def few(folder: str, target: str, batch: int) -> int:
    """Link one whole batch, and what the last one would be, to `target`; return how many there are.

    A run on those traces graphs for both sizes of a batch.
    """
    files = sorted(Path(folder).glob("*/*"))
    wanted = batch + len(files) % batch
    taken = files[:: max(1, len(files) // wanted)][:wanted]
    for file in taken:
        link = Path(target, file.parent.name, file.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(file.resolve(), link)
    return len(files)


def batches(folder: str, size: int, batch: int, threads: int, ahead: bool) -> Iterator[np.ndarray]:
    """Yield float32 images (N, H, W, 3), 0..255.

    `ahead`: the next batch is read while the caller computes; else the caller has all
    processors to itself, and so has the reading.
    """
    files = sorted(Path(folder).glob("*/*"))
    groups = [files[i : i + batch] for i in range(0, len(files), batch)]

    def read(i: int) -> list:
        return [pool.submit(_read, file, size) for file in groups[i]] if i < len(groups) else []

    with ThreadPoolExecutor(threads) as pool:
        coming = read(0)
        for i in range(len(groups)):
            current = coming
            if ahead:
                coming = read(i + 1)
            yield np.stack([future.result() for future in current]).astype(np.float32)
            if not ahead:
                coming = read(i + 1)


def _read(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        image.draft("RGB", (2 * size, 2 * size))  # large JPEGs: decoded at half size or less
        image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        draw(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        print(few(sys.argv[2], sys.argv[3], int(sys.argv[4])))
