"""Numba kernels of the fast convolutions. Importing these modules imports Numba."""
