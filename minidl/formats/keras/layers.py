"""Translation of a Keras layer's configuration into a layer of minidl.

Both libraries share most names and arguments. An argument that would change predictions and that
minidl does not have is refused. Initializers, regularizers and constraints, which only training
uses, are ignored.

>>> from minidl.formats.keras.layers import make_layer
>>> make_layer("Convolution2D", {"name": "c", "nb_filter": 4, "nb_row": 3, "nb_col": 3}).label
"Conv2D 'c'"
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

from minidl import layers
from minidl.common.errors import FileFormatError
from minidl.layers.base import Layer

__all__ = ["input_sizes", "make_layer", "parameter_count", "plain"]

# Former names of classes and arguments: of Keras 1, and of LeakyReLU until Keras 2.
_CLASSES = {"Convolution2D": "Conv2D", "BatchNormalizationV1": "BatchNormalization"}
_ARGUMENTS = {
    "alpha": "negative_slope",
    "bias": "use_bias",
    "border_mode": "padding",
    "concat_axis": "axis",
    "dim_ordering": "data_format",
    "input_dtype": "dtype",
    "nb_filter": "filters",
    "output_dim": "units",
    "p": "rate",
    "subsample": "strides",
}
# Arguments that only training uses, input shapes, and implementation details.
_IGNORED = re.compile(
    r"(\w+_)?(initializer|regularizer|constraint|init)|[Wb]_(regularizer|constraint)|weights|"
    r"batch_input_shape|batch_shape|batch_size|build_input_shape|input_(dim|shape|length)|"
    r"synchronized|fused|sparsity|autocast|implementation"
)
# Arguments that minidl does not have, with the values that have no effect.
_NEUTRAL = {
    "data_format": ("channels_last", "tf"),
    "groups": (1,),
    "mode": (0,),
    "renorm_momentum": (0.99,),
}
_MINIDL_ONLY = (
    Layer,
    layers.AffineChain,
    layers.ImageNetPreprocessing,
    layers.LocalResponseNormalization,
)
_CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod")


def make_layer(class_name: str, config: dict[str, Any]) -> Layer:
    """Return minidl's layer for a class and a configuration of Keras.

    Parameters
    ----------
    class_name : str
    config : dict

    Returns
    -------
    Layer

    Raises
    ------
    FileFormatError
        For a class that minidl does not have, and for Lambda, which contains code.
    ValueError, TypeError
        For an argument that minidl's layer does not accept.
    """
    config = {_ARGUMENTS.get(key, key): plain(value) for key, value in config.items()}
    name, class_name = config.get("name"), _CLASSES.get(class_name, class_name)
    if class_name == "Merge":
        class_name = _merging_class(name, config)
    if class_name in _CODE or "." in class_name:
        raise FileFormatError(
            f"layer {name!r} is a {class_name}, which contains code; minidl runs no code from "
            "files: replace it by layers such as Rescaling, Add or Activation and save again"
        )
    cls = getattr(layers, class_name) if class_name in layers.__all__ else None
    if not (isinstance(cls, type) and issubclass(cls, Layer)) or cls in _MINIDL_ONLY:
        raise FileFormatError(
            f"layer {name!r} is of the class {class_name!r}, which minidl does not have"
        )
    if "nb_row" in config:
        config["kernel_size"] = (config.pop("nb_row"), config.pop("nb_col", None))
    return cls(**_arguments(cls, config))


def plain(value: Any) -> Any:
    """Return a value without the wrappers in which Keras writes arrays and tuples."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in ("__tuple__", "ListWrapper", "TrackableList"):
        return plain(value.get("items", value.get("config")))
    if value.get("class_name") == "__numpy__":
        return value["config"]["value"]
    if value.get("type") in ("ndarray", "float32", "float64"):
        return value.get("value")
    return value


def input_sizes(config: Mapping[str, Any]) -> list[int | None] | None:
    """Return the shape of one sample in a layer's configuration, or None."""
    for key in ("batch_input_shape", "batch_shape"):
        shape = plain(config.get(key))
        if isinstance(shape, list) and shape:
            return shape[1:]
    for key in ("shape", "input_shape"):
        if isinstance(plain(config.get(key)), list):
            return plain(config[key])
    return [config["input_dim"]] if isinstance(config.get("input_dim"), int) else None


def parameter_count(layer: Layer, shape: Any) -> int:
    """Return the number of parameters of a layer that is not yet built, for inputs of `shape`."""
    channels = shape[-1] if isinstance(shape, tuple) and shape else None
    if not isinstance(channels, int):
        return 0  # building the layer raises the error
    bias = int(getattr(layer, "use_bias", False))
    if isinstance(layer, layers.Dense):
        return (channels + bias) * layer.units
    if isinstance(layer, layers.Conv2D):
        kernel = math.prod(layer.kernel_size) * (channels // layer.groups)
        return (kernel + bias) * layer.filters
    if isinstance(layer, layers.DepthwiseConv2D):
        return (math.prod(layer.kernel_size) + bias) * channels * layer.depth_multiplier
    if isinstance(layer, layers.BatchNormalization):
        return (2 + bool(layer.scale) + bool(layer.center)) * channels
    if isinstance(layer, layers.PReLU):
        shared = layer.shared_axes or ()
        return math.prod(n or 1 for i, n in enumerate(shape) if i and i not in shared)
    if isinstance(layer, layers.Normalization) and layer.mean is None:
        return 2 * math.prod(shape[i] or 0 for i in layer.kept_axes(len(shape)) if i < len(shape))
    return 0


def _arguments(cls: type[Layer], config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for the constructor of `cls`; refuse unknown ones with an effect."""
    known = set(inspect.signature(cls.__init__).parameters)
    given: dict[str, Any] = {"name": config.pop("name", None)}
    policy = config.pop("dtype", None)
    given["dtype"] = _dtype(policy)
    if config.get("activation") == "hard_sigmoid" and not _is_policy_of_keras3(policy):
        raise ValueError(
            "activation 'hard_sigmoid' of Keras 2 is 0.2 x + 0.5, but x / 6 + 0.5 in Keras 3 and "
            "minidl; save the model again with Keras 3"
        )
    given["trainable"] = bool(config.pop("trainable", True))
    for key, value in config.items():
        neutral = _NEUTRAL.get(key, ())
        if _IGNORED.fullmatch(key) or (key not in known and (not value or value in neutral)):
            continue
        if key not in known and not _is_random_argument(cls, key):
            raise ValueError(f"minidl does not have its argument {key}={value!r}")
        if key in known:
            given[key] = _argument(key, value)
    return given


def _is_policy_of_keras3(policy: Any) -> bool:
    return isinstance(policy, dict) and policy.get("class_name") == "DTypePolicy"


def _is_random_argument(cls: type[Layer], key: str) -> bool:
    """Return whether an argument affects only augmentation, which is off in inference."""
    return cls.__name__.startswith("Random") and key in ("value_range", "data_format")


def _argument(key: str, value: Any) -> Any:
    if key == "data_format":
        return {"tf": "channels_last", "th": "channels_first"}.get(value, value)
    if key == "activation":
        return _activation(value)
    if key == "axis" and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def _activation(value: Any) -> Any:
    """Return the name of an activation, or its layer; Keras writes functions in several ways."""
    if not isinstance(value, dict):
        return value
    class_name, config = value.get("class_name"), value.get("config")
    if isinstance(config, str):  # {"class_name": "function", "config": "relu"}
        return config
    if not (isinstance(class_name, str) and isinstance(config, dict)):
        raise ValueError(f"minidl does not have its activation {value!r}")
    return make_layer(class_name, config)


def _dtype(policy: Any) -> str:
    """Return "float32" or "float64" for a name or a policy; refuse mixed precision."""
    if isinstance(policy, dict):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, dict) else inner
    if policy not in (None, "float32", "float64"):
        raise ValueError(
            f"expected dtype float32 or float64, received {policy!r}; set one of them in Keras "
            "and save again"
        )
    return policy or "float32"


def _merging_class(name: Any, config: dict[str, Any]) -> str:
    """Return the class for the mode of Keras 1's Merge layer."""
    mode = config.pop("mode", None)
    for key in [key for key in config if key.startswith(("mode_", "output_", "dot_", "node_"))]:
        config.pop(key)
    if mode not in ("sum", "concat"):
        raise FileFormatError(
            f"layer {name!r} (Merge): expected mode 'sum' or 'concat', received {mode!r}"
        )
    if mode == "sum":
        config.pop("axis", None)
    return "Add" if mode == "sum" else "Concatenate"
