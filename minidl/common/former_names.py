"""Former module names: the imports of scripts that were written for version 0.1.

The modules have moved into packages, such as ``minidl.errors`` to ``minidl.common.errors``. Python
asks the finder below only for names without a file.

>>> from minidl.errors import ShapeError
>>> ShapeError.__module__
'minidl.common.errors'
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["FORMER_NAMES", "install"]

FORMER_NAMES = {
    "minidl.applications.resnet50": "minidl.applications.resnet",
    "minidl.calibration": "minidl.evaluation.calibration",
    "minidl.errors": "minidl.common.errors",
    "minidl.explain": "minidl.evaluation.explain",
    "minidl.inspection": "minidl.io.inspection",
    "minidl.layers.core": "minidl.layers.dense",
    "minidl.layers.imagenet": "minidl.layers.imagenet_preprocessing",
    "minidl.layers.regularization": "minidl.layers.dropout",
    "minidl.loading": "minidl.models.loading",
    "minidl.model": "minidl.models.model",
    "minidl.novelty": "minidl.evaluation.out_of_distribution",
    "minidl.plotting": "minidl.common.plotting",
    "minidl.seeding": "minidl.common.seeding",
    "minidl.sequential": "minidl.models.sequential",
    "minidl.training.callbacks": "minidl.callbacks",
    "minidl.training.confusion": "minidl.metrics.confusion",
    "minidl.training.losses": "minidl.losses",
    "minidl.training.metrics": "minidl.metrics",
    "minidl.training.optimizers": "minidl.optimizers",
    "minidl.training.schedules": "minidl.optimizers.schedules",
}


class _FormerNames:
    """A finder and loader that returns the present module for a former name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in FORMER_NAMES else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create a module, which :meth:`exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(FORMER_NAMES[module.__name__])


def install() -> None:
    """Let ``import`` find modules by their former names as well."""
    if not any(isinstance(finder, _FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(_FormerNames())
