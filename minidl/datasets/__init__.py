"""Data sets that need no download: procedurally drawn cartoon pets.

>>> from minidl import datasets
>>> x, y = datasets.cartoon_pets(4, size=32, seed=0)
>>> x.shape, y.shape
((4, 32, 32, 3), (4,))
"""

from minidl.datasets.cartoon_pets import CARTOON_CLASSES, CARTOON_SPECIES, cartoon_pets

__all__ = ["CARTOON_CLASSES", "CARTOON_SPECIES", "cartoon_pets"]
