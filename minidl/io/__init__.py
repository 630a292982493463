"""Weight files: their contents, and the networks they fit.

>>> from minidl import io
>>> callable(io.inspect_weights)
True
"""

from minidl.io.inspection import Fit, LayerReport, TensorReport, WeightReport, inspect_weights

__all__ = ["Fit", "LayerReport", "TensorReport", "WeightReport", "inspect_weights"]
