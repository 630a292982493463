"""Convolution algorithms: the Python side of the compiled kernels."""
