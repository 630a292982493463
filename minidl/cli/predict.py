"""The command ``minidl predict``: classes, probabilities and OOD scores of images."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minidl.applications import catalog
from minidl.applications.pets_net import pets_file
from minidl.cli.options import AddCommand, add_json
from minidl.common.atomic_files import atomic_file
from minidl.common.errors import DataError
from minidl.common.image_extensions import IMAGE_EXTENSIONS
from minidl.common.optional_formats import registered_extensions
from minidl.common.output_paths import check_output
from minidl.data.images import load_image
from minidl.evaluation import out_of_distribution
from minidl.evaluation.classifier import class_names, color_mode, image_size, probabilities
from minidl.models.loading import load_model
from minidl.models.model import Model

__all__ = ["add_predict_command", "predict"]

MODEL_SUFFIXES = (".h5", ".hdf5", ".keras", *registered_extensions())
MODEL_SIGNATURES = (b"\x89HDF", b"PK", b"minidl ")  # the first bytes of model files
BATCH_SIZE = 32
TOP = 5  # classes of an image, of more than two
SOFTWARE = "minidl predict --explain"  # noted in the PNG files that --explain writes
LINE_HEIGHT = 12  # pixels, of the text above each image of --explain


def add_predict_command(add: AddCommand) -> None:
    """Add the command to the parser."""
    command = add(predict, "print class and probability of images")
    command.add_argument(
        "--imagenet",
        action="store_true",
        help=f"name what is in the images: the {TOP} most probable of ImageNet's 1000 classes, by "
        f"{catalog.DEFAULT} instead of MODEL",
    )
    command.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="model file (default: the classifier of cats and dogs that ships with minidl)",
    )
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    command.add_argument(
        "--explain",
        metavar="PNG",
        help="write a picture of the images and of their Grad-CAM maps for the predicted class",
    )
    add_json(command)


def predict(options: argparse.Namespace) -> int:
    """Print class and probability of each image; return 1 if an image could not be read."""
    path, paths = _model_and_images(options)
    if options.explain is not None:
        used = paths if path is None else [path, *paths]
        check_output("--explain", options.explain, (".png",), used)
        _check_replaceable(options.explain)
    model = catalog.NETWORKS[catalog.DEFAULT].build() if path is None else load_model(path)
    results: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    for start in range(0, len(paths), BATCH_SIZE):
        predictions, readable = _predict_batch(model, paths[start : start + BATCH_SIZE])
        results += _most_probable(predictions) if options.imagenet else predictions
        images += readable if options.explain else []
    if options.json:
        print(json.dumps(results, indent=2))
    for item in results:
        if "error" in item:
            print(f"minidl: {item['error']}", file=sys.stderr)
        elif not options.json:
            print(f"{item['file']}: {_list_classes(item) if options.imagenet else _describe(item)}")
    if images:
        predicted = [item for item in results if "error" not in item]
        _write_explanations(model, np.stack(images), predicted, options.explain)
    return int(any("error" in item for item in results))


def _model_and_images(options: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Return the paths of the model and of the images; None is the network for ImageNet.

    argparse takes the first path for the model, even if it is an image.
    """
    images = list(options.images)
    if options.imagenet:
        if options.model is not None and _is_model(options.model):
            options.usage_error(
                f"--imagenet: expected images only, received the model {options.model}"
            )
        return None, images if options.model is None else [options.model, *images]
    if options.model is None and Path(images[0]).suffix.lower() in MODEL_SUFFIXES:
        options.usage_error(f"expected at least one IMAGE after the model file {images[0]}")
    if options.model is not None and _is_model(options.model):
        return options.model, images
    return str(pets_file()), images if options.model is None else [options.model, *images]


def _is_model(path: str) -> bool:
    """Return whether the first of several paths is a model; a missing file counts as one."""
    suffix = Path(path).suffix.lower()
    if suffix in MODEL_SUFFIXES or suffix in IMAGE_EXTENSIONS:
        return suffix in MODEL_SUFFIXES
    if Path(path).exists() and not Path(path).is_file():
        return False  # refused as an image later: reading a pipe would block
    try:
        with open(path, "rb") as file:
            return file.read(7).startswith(MODEL_SIGNATURES)
    except OSError:
        return True


def _predict_batch(model: Model, paths: list[str]) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Return one result per file, and the images that could be read."""
    names = class_names(model)
    results: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    for path in paths:
        results.append({"file": path})
        try:
            images.append(load_image(path, image_size(model), color_mode(model)))
        except DataError as error:
            results[-1]["error"] = str(error)
    if not images:
        return results, images
    x, scores = np.stack(images, dtype=np.float32), None
    if out_of_distribution.is_fitted(model):
        outputs, scores = out_of_distribution.predict(model, x)
    else:
        outputs = model.predict_on_batch(x)
    readable = [item for item in results if "error" not in item]
    for i, (item, p) in enumerate(zip(readable, probabilities(model, outputs), strict=True)):
        item["class"] = names[int(p.argmax())]
        item["probability"] = round(float(p.max()), 6)
        item["probabilities"] = {n: round(float(v), 6) for n, v in zip(names, p, strict=True)}
        if scores is not None:
            item["ood_score"] = round(float(scores[i]), 4)
            item["known"] = bool(scores[i] <= out_of_distribution.THRESHOLD)
    return results, images


def _describe(item: dict[str, Any]) -> str:
    """Return the text of a result."""
    if item.get("known", True):
        return f"{item['class']} {item['probability']:.1%}"
    return (
        f"unknown (OOD score {item['ood_score']:.2f}, threshold {out_of_distribution.THRESHOLD}; "
        f"nearest class: {item['class']}, {100 * item['probability']:.0f} %)"
    )


def _most_probable(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reduce the probabilities of each result to the highest ones, in descending order."""
    for item in results:
        if "error" not in item:
            order = sorted(item["probabilities"].items(), key=lambda pair: -pair[1])
            item["probabilities"] = dict(order[:TOP])
    return results


def _list_classes(item: dict[str, Any]) -> str:
    """Return the text of a result with several classes."""
    return ", ".join(f"{n.replace('_', ' ')} {p:.1%}" for n, p in item["probabilities"].items())


def _check_replaceable(path: str) -> None:
    """Raise if another program's file would be overwritten: ``--explain *.png`` names a photo."""
    from PIL import Image

    if not Path(path).exists():
        return
    try:
        with Image.open(path) as image:
            replaceable = image.info.get("Software") == SOFTWARE
    except OSError:
        replaceable = False
    if not replaceable:
        raise DataError(
            f"--explain: expected a new file, or one that `minidl predict` wrote; {path!r} would "
            "be lost. Choose another name."
        )


def _write_explanations(
    model: Model, images: np.ndarray, results: list[dict[str, Any]], path: str
) -> None:
    """Write a picture of all images, each beside its Grad-CAM map and below its result."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    from minidl.evaluation.explain import grad_cam, overlay

    height, width = images.shape[1:3]
    top = 2 * LINE_HEIGHT + 4
    columns = max(1, min(len(images), 1600 // (2 * width)))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (2 * width * columns, (height + top) * rows), "white")
    for i, (image, heatmap) in enumerate(zip(images, grad_cam(model, images), strict=True)):
        # Each cell is drawn separately, so that a long file name is cut off at its edge.
        cell = Image.new("RGB", (2 * width, height + top), "white")
        draw = ImageDraw.Draw(cell)
        for k, line in enumerate((Path(results[i]["file"]).name, _describe(results[i]))):
            text = line.encode("latin-1", "replace").decode("latin-1")
            draw.text((4, 2 + k * LINE_HEIGHT), text, "black")
        cell.paste(Image.fromarray(overlay(image, heatmap, opacity=0)), (0, top))
        cell.paste(Image.fromarray(overlay(image, heatmap)), (width, top))
        sheet.paste(cell, (cell.width * (i % columns), cell.height * (i // columns)))
    metadata = PngInfo()
    metadata.add_text("Software", SOFTWARE)
    try:
        with atomic_file(path) as file:
            sheet.save(file, "PNG", pnginfo=metadata)
    except OSError as error:
        raise DataError(f"--explain: {error}") from None
