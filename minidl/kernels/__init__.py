"""Scalar loops over contiguous arrays (Numba), and the Python that cuts work into tasks."""
