"""Standard JSON for NaN and infinite numbers, which JSON cannot represent: null.

>>> import json
>>> from minidl.common.finite_json import finite
>>> json.dumps(finite({"loss": float("nan"), "accuracy": [0.5]}))
'{"loss": null, "accuracy": [0.5]}'
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["finite"]


def finite(value: Any) -> Any:
    """Replace each number that is not finite by None, in nested dicts and lists.

    Parameters
    ----------
    value : dict, list, tuple, number, str or None

    Returns
    -------
    The same structure, with lists for tuples.
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
