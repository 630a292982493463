"""Weight versions: detect that parameters have changed since something was derived from them.

>>> import numpy as np
>>> from minidl.graph.inference.weight_versions import WeightVersions
>>> from minidl.layers import Parameter
>>> parameter = Parameter("kernel", np.zeros((2, 3)))
>>> versions = WeightVersions([parameter])
>>> parameter.assign(np.ones((2, 3)))
>>> versions.have_changed()
True
"""

from __future__ import annotations

from minidl.layers.parameter import Parameter

__all__ = ["WeightVersions"]


class WeightVersions:
    """Versions of some parameters at the time of construction.

    Parameters
    ----------
    parameters : list of Parameter
    """

    def __init__(self, parameters: list[Parameter]):
        self.parameters = parameters
        self.versions = self._sum()

    def have_changed(self) -> bool:
        """Return whether the numbers of any parameter have changed since."""
        return self._sum() != self.versions

    def _sum(self) -> int:
        return sum(parameter.version for parameter in self.parameters)  # versions only grow
