"""Commands that use a saved model: ``minidl evaluate`` and ``minidl predict``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl.common.errors import DataError
from minidl.common.output_paths import check_output
from minidl.evaluation import out_of_distribution
from minidl.evaluation.classifier import (
    class_names,
    color_mode,
    image_size,
    probabilities,
    threshold,
)
from minidl.training.logits import final_activation

__all__ = ["evaluate", "predict", "report"]

MODEL_SUFFIXES = (".h5", ".hdf5", ".keras")
BATCH = 32  # images at a time
SIGNATURE = "minidl predict --explain"  # in pictures of ours


def evaluate(options: argparse.Namespace) -> None:
    """Test a saved model on a folder of photos."""
    report(minidl.load_model(options.model), options.folder, options.batch_size, options.json)


def report(model, folder, batch_size: int, as_json: bool) -> dict[str, float]:
    """Print loss, accuracy and the confusion matrix of a model on a folder; return the former."""
    from minidl.data import ImageFolder

    noted = class_names(model) if "class_names" in model.metadata else None
    dataset = ImageFolder(
        folder, image_size=image_size(model), batch_size=batch_size, shuffle=False,
        class_names=noted, color_mode=color_mode(model),
    )  # fmt: skip
    names = dataset.class_names
    losses = {"sigmoid": "binary_crossentropy", "softmax": "sparse_categorical_crossentropy"}
    activation = final_activation(model)
    if model.trainer is None and activation in losses:  # saved without, as the one of minidl
        model.compile("sgd", losses[activation], metrics=["accuracy"])
    results: dict[str, Any] = model.evaluate(dataset, return_dict=True, verbose=0)
    counts = _confusion(model, dataset)
    if as_json:
        print(json.dumps({**results, "class_names": names, "confusion_matrix": counts.tolist()}))
        return results
    print(f"{folder}: " + ", ".join(f"{name} {value:.4f}" for name, value in results.items()))
    width = max(len(name) for name in names)
    for name, row in zip(names, counts, strict=True):
        cells = ", ".join(f"{n} as {other}" for n, other in zip(row, names, strict=True))
        print(f"  {name.ljust(width)}: {cells}")
    return results


def _confusion(model, dataset) -> np.ndarray:
    """Count who is taken for what, cutting where the accuracy does: logits at 0."""
    matrix = minidl.metrics.ConfusionMatrix(len(dataset.class_names), threshold(model))
    for x, y in dataset.batches(0):
        outputs = model.predict_on_batch(x)
        probabilities(model, outputs)  # refuses what is no classifier's answer
        matrix.update_state(y, outputs)
    return matrix.result()


def predict(options: argparse.Namespace) -> int:
    """Print class and probability of each image; go on after one that cannot be read."""
    path, paths = _model_and_images(options)
    if options.explain is not None:
        check_output("--explain", options.explain, (".png",), [path, *paths])
        _check_own(options.explain)
    model = minidl.load_model(path)
    results: list[dict[str, Any]] = []
    readable: list[np.ndarray] = []
    for start in range(0, len(paths), BATCH):
        answers, images = _answers(model, paths[start : start + BATCH])
        results += answers
        readable += images if options.explain else []
    if options.json:
        print(json.dumps(results, indent=2))
    for item in results:
        if "error" in item:
            print(f"minidl: {item['error']}", file=sys.stderr)
        elif not options.json:
            print(f"{item['file']}: {_in_words(item)}")
    if readable:
        good = [item for item in results if "error" not in item]
        _write_explanations(model, np.stack(readable), good, options.explain)
    return 1 if any("error" in item for item in results) else 0


def _model_and_images(options: argparse.Namespace) -> tuple[Any, list[str]]:
    """Return the model file and the images; without a model, minidl's own for cats and dogs."""
    from minidl.applications.pets_net import pets_file

    images = list(options.images)
    if options.model is None and Path(images[0]).suffix.lower() in MODEL_SUFFIXES:
        options.wrong_usage(f"expected one IMAGE or more after the model file {images[0]}")
    if options.model is not None and not _is_model(options.model):
        images.insert(0, options.model)
        options.model = None
    return options.model or pets_file(), images


def _is_model(path: str) -> bool:
    """Return whether the first of several names is that of a model; a missing file may be one."""
    from minidl.data.images import IMAGE_EXTENSIONS

    suffix = Path(path).suffix.lower()
    if suffix in MODEL_SUFFIXES or suffix in IMAGE_EXTENSIONS:
        return suffix in MODEL_SUFFIXES
    if Path(path).exists() and not Path(path).is_file():
        return False  # to be refused as an image: reading a pipe would wait for ever
    try:
        with open(path, "rb") as file:
            return file.read(7).startswith((b"\x89HDF", b"PK", b"minidl "))
    except OSError:
        return True


def _answers(model, paths) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Return what the model says of each file, and the images that could be read."""
    from minidl.data.images import load_image

    names = class_names(model)
    results: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    for path in paths:
        results.append({"file": str(path)})
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
    good = [item for item in results if "error" not in item]
    for i, (item, p) in enumerate(zip(good, probabilities(model, outputs), strict=True)):
        item["class"] = names[int(p.argmax())]
        item["probability"] = round(float(p.max()), 6)
        item["probabilities"] = {n: round(float(v), 6) for n, v in zip(names, p, strict=True)}
        if scores is not None:
            item["novelty"], item["known"] = round(float(scores[i]), 4), bool(scores[i] <= 1)
    return results, images


def _in_words(item: dict[str, Any]) -> str:
    """Return a result as a person would say it."""
    answer = f"{item['class']} {item['probability']:.1%}"
    if item.get("known", True):
        return answer
    names = list(item["probabilities"])
    what = (
        f"neither {names[0]} nor {names[1]}" if len(names) == 2 else f"none of {', '.join(names)}"
    )
    return f"{what}, as far as I can tell (novelty {item['novelty']:.2f}, else {answer})"


def _check_own(path: str) -> None:
    """Raise where a file is there that is none of ours: ``--explain *.png`` names a photo."""
    from PIL import Image

    if not Path(path).exists():
        return
    try:
        with Image.open(path) as image:
            ours = image.info.get("Software") == SIGNATURE
    except OSError:
        ours = False
    if not ours:
        raise DataError(
            f"--explain: expected a new file, or one that minidl predict wrote; {path!r} is "
            "something else and would be lost"
        )


def _write_explanations(model, images: np.ndarray, items: list[dict[str, Any]], path: str) -> None:
    """Write a picture: each image, what was predicted, and what spoke for that."""
    from PIL import Image, ImageDraw
    from PIL.PngImagePlugin import PngInfo

    from minidl.evaluation.explain import grad_cam, overlay

    maps = grad_cam(model, images)
    height, width = images.shape[1:3]
    line = 12  # pixels of each of the two lines above: the file, the answer
    across = max(1, min(len(images), 1600 // (2 * width)))
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (2 * width * across, (height + 2 * line + 4) * down), "white")
    for i, (image, heatmap, item) in enumerate(zip(images, maps, items, strict=True)):
        # A cell by itself, so that a long name ends at its edge.
        cell = Image.new("RGB", (2 * width, height + 2 * line + 4), "white")
        draw = ImageDraw.Draw(cell)
        for k, text in enumerate((Path(item["file"]).name, _in_short(item))):
            draw.text(
                (4, 2 + k * line), text.encode("latin-1", "replace").decode("latin-1"), "black"
            )
        cell.paste(Image.fromarray(overlay(image, heatmap, opacity=0)), (0, 2 * line + 4))
        cell.paste(Image.fromarray(overlay(image, heatmap)), (width, 2 * line + 4))
        sheet.paste(cell, (cell.width * (i % across), cell.height * (i // across)))
    signature = PngInfo()
    signature.add_text("Software", SIGNATURE)
    try:
        sheet.save(path, pnginfo=signature)
    except (OSError, ValueError) as error:
        raise DataError(f"--explain: cannot write {path!r} ({error})") from None


def _in_short(item: dict[str, Any]) -> str:
    """Return a result in few words."""
    answer = f"{item['class']} {item['probability']:.1%}"
    return answer if item.get("known", True) else f"unknown (else {answer})"
