"""Photo files: drawn for the benchmark, and read for peers without a reader.

``python photos.py draw FOLDER COUNT SIZE`` and ``python photos.py few FOLDER TARGET BATCH`` call
the functions of those names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["batches", "draw", "few"]


def draw(folder: str, count: int, size: int) -> None:
    """Draw JPEG files into ``folder/cats`` and ``folder/dogs`` (needs minidl)."""
    from minidl.datasets.cartoon_pets import cartoon_pets

    for kind in ("cats", "dogs"):
        Path(folder, kind).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(*cartoon_pets(count, size), strict=True)):
        Image.fromarray(image).save(Path(folder, ("cats", "dogs")[label], f"{i}.jpg"), quality=90)


def few(folder: str, target: str, batch: int) -> int:
    """Link some photos of `folder` in `target` for the warm-up; return the number of all photos.

    The links fill one full batch and one of the last batch's size, so graphs are traced for both.
    """
    files = sorted(Path(folder).glob("*/*"))
    count = batch + len(files) % batch
    for file in files[:: max(1, len(files) // count)][:count]:
        link = Path(target, file.parent.name, file.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(file.resolve(), link)
    return len(files)


def batches(folder: str, size: int, batch: int, threads: int, ahead: bool) -> Iterator[np.ndarray]:
    """Yield batches of float32 images (N, H, W, 3), values 0 to 255.

    With `ahead`, the next batch is read while the caller computes. Otherwise reading and computing
    alternate, so that each can use all processors.
    """
    files = sorted(Path(folder).glob("*/*"))
    groups = [files[i : i + batch] for i in range(0, len(files), batch)]

    def read(i: int) -> list[Future[np.ndarray]]:
        return [pool.submit(_read, file, size) for file in groups[i]] if i < len(groups) else []

    with ThreadPoolExecutor(threads) as pool:
        upcoming = read(0)
        for i in range(len(groups)):
            current = upcoming
            if ahead:
                upcoming = read(i + 1)
            yield np.stack([future.result() for future in current]).astype(np.float32)
            if not ahead:
                upcoming = read(i + 1)


def _read(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        image.draft("RGB", (2 * size, 2 * size))  # decodes large JPEGs at a reduced size
        image = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        draw(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        print(few(sys.argv[2], sys.argv[3], int(sys.argv[4])))
