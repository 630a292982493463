"""Outputs of an exported classifier: probabilities, OOD score, and the metadata of the file.

>>> from minidl import Input, Sequential, layers
>>> from minidl.onnx.classifier_outputs import metadata
>>> model = Sequential([Input((2,)), layers.Dense(1, activation="sigmoid")])
>>> model.metadata["class_names"] = ["cats", "dogs"]
>>> sorted(metadata(model).items())
[('class_names', '["cats", "dogs"]'), ('threshold', '0.5')]
"""

from __future__ import annotations

import json
from typing import Any

from minidl.evaluation import classifier, out_of_distribution
from minidl.models.model import Model
from minidl.onnx.call import Call
from minidl.onnx.graph_builder import GraphBuilder, Value
from minidl.onnx.rules import apply_rule
from minidl.training.logits import final_activation

__all__ = ["image_metadata", "metadata", "ood_score", "probabilities"]


def probabilities(graph: GraphBuilder, model: Model, output: Value) -> Value:
    """Return the model's output; logits of a classifier become probabilities.

    The temperature of a calibrated classifier is contained in the weights of its last layer.
    """
    activation = classifier.missing_activation(model) if _is_classifier(model) else None
    if activation is not None:
        graph.scope = "probabilities"
        output = apply_rule(graph, Call(activation, [output], output.shape))
    return graph.plain(output)


def ood_score(graph: GraphBuilder, fitted: dict[str, Any], features: Value) -> Value:
    """Return the OOD score of each sample, computed as minidl does.

    Parameters
    ----------
    graph : GraphBuilder
    fitted : dict
        From :func:`minidl.out_of_distribution.fitted_score`.
    features : Value, shape (N, D)
    """
    graph.scope = "ood_score"
    x = graph.add("Unsqueeze", [graph.plain(features).name, graph.sizes("axis", 1)])  # (N, 1, D)
    offsets = graph.add("Sub", [x, graph.constant("means", fitted["means"])])  # (N, K, D)
    whitened = graph.add("MatMul", [offsets, graph.constant("whitening", fitted["whitening"])])
    distances = graph.reduce("ReduceL2", whitened, axis=2)  # (N, K)
    nearest = graph.reduce("ReduceMin", distances, axis=1)  # (N,)
    score = graph.add("Div", [nearest, graph.constant("limit", float(fitted["limit"]))])
    return Value(score, features.shape[:1])


def metadata(model: Model, license: str | None = None) -> dict[str, str]:
    """Return the entries of a classifier for the file's metadata; values are text or JSON.

    Parameters
    ----------
    model : Model
    license : str, optional
        By default ``model.metadata["license"]``.
    """
    entries: dict[str, str] = {}
    if _is_classifier(model):
        if "class_names" in model.metadata:
            entries["class_names"] = json.dumps(classifier.class_names(model), ensure_ascii=False)
        if model.output_shape[1] == 1:
            entries["threshold"] = "0.5"  # above it, the output means class 1
    if out_of_distribution.is_fitted(model):
        entries["ood_threshold"] = str(out_of_distribution.THRESHOLD)
    license = license or model.metadata.get("license")
    if license:
        entries["license"] = str(license)
    return entries


def image_metadata(model: Model, float_input: bool, resize: bool) -> dict[str, str]:
    """Return the entries that describe the images which the graph takes."""
    layout = "float32 (N, C, H, W)" if float_input else "uint8 (N, H, W, C)"
    size = "any size" if resize else "resized to image_size"
    return {
        "color_mode": classifier.color_mode(model),
        "image_size": json.dumps(list(classifier.image_size(model))),
        "input": f"{layout}, values 0 to 255, {size}",
    }


def _is_classifier(model: Model) -> bool:
    """Whether outputs are those of a classifier; an uncompiled Dense may be a regression."""
    if not model.single_output or len(model.output_shape) != 2:
        return False
    knows_loss = model.trainer is not None and classifier.missing_activation(model) is not None
    return "class_names" in model.metadata or knows_loss or final_activation(model) is not None
