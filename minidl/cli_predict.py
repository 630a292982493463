"""Commands that use a saved model: ``minidl evaluate`` and ``minidl predict``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

import minidl
from minidl.classifier import class_names, color_mode, image_size, probabilities, threshold
from minidl.errors import DataError

__all__ = ["evaluate", "predict", "report"]


def evaluate(options: argparse.Namespace) -> None:
    """Test a saved model on a folder of photos."""
    report(minidl.load_model(options.model), options.folder, options.batch_size, options.json)


def report(model, folder, batch_size: int, as_json: bool) -> None:
    """Print loss, accuracy and the confusion matrix of a model on a folder."""
    from minidl.data import ImageFolder

    noted = class_names(model) if "class_names" in model.metadata else None
    dataset = ImageFolder(
        folder, image_size=image_size(model), batch_size=batch_size, shuffle=False,
        class_names=noted, color_mode=color_mode(model),
    )  # fmt: skip
    names = dataset.class_names
    results: dict[str, Any] = model.evaluate(dataset, return_dict=True, verbose=0)
    counts = _confusion(model, dataset)
    if as_json:
        print(json.dumps({**results, "class_names": names, "confusion_matrix": counts.tolist()}))
        return
    print(f"{folder}: " + ", ".join(f"{name} {value:.4f}" for name, value in results.items()))
    width = max(len(name) for name in names)
    for name, row in zip(names, counts, strict=True):
        cells = ", ".join(f"{n} as {other}" for n, other in zip(row, names, strict=True))
        print(f"  {name.ljust(width)}: {cells}")


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
    from minidl.data.images import load_image

    model = minidl.load_model(options.model)
    names = class_names(model)
    results: list[dict[str, Any]] = []
    readable: list[np.ndarray] = []
    for path in options.images:
        try:
            image = load_image(path, image_size(model), color_mode(model))
        except DataError as error:
            results.append({"file": str(path), "error": str(error)})
            continue
        readable.append(image)
        p = probabilities(model, model.predict_on_batch(image[None].astype(np.float32)))[0]
        results.append(
            {
                "file": str(path),
                "class": names[int(p.argmax())],
                "probability": round(float(p.max()), 6),
                "probabilities": {
                    name: round(float(v), 6) for name, v in zip(names, p, strict=True)
                },
            }
        )
    if options.explain and readable:
        labels = [f"{r['class']} {r['probability']:.1%}" for r in results if "error" not in r]
        _write_explanations(model, np.stack(readable), labels, options.explain)
    if options.json:
        print(json.dumps(results, indent=2))
    for item in results:
        if "error" in item:
            print(f"minidl: {item['error']}", file=sys.stderr)
        elif not options.json:
            print(f"{item['file']}: {item['class']} {item['probability']:.1%}")
    return 1 if any("error" in item for item in results) else 0


def _write_explanations(model, images: np.ndarray, labels: list[str], path: str) -> None:
    """Write a picture: each image, what was predicted, and what spoke for that."""
    from PIL import Image, ImageDraw

    from minidl.explain import grad_cam, overlay

    maps = grad_cam(model, images)
    height, width = images.shape[1:3]
    line = 16  # pixels for the text above
    across = max(1, min(len(images), 1600 // (2 * width)))
    down = -(-len(images) // across)
    sheet = Image.new("RGB", (2 * width * across, (height + line) * down), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, heatmap, label) in enumerate(zip(images, maps, labels, strict=True)):
        x, y = 2 * width * (i % across), (height + line) * (i // across)
        draw.text((x + 4, y + 2), label, fill="black")
        sheet.paste(Image.fromarray(overlay(image, heatmap, opacity=0)), (x, y + line))
        sheet.paste(Image.fromarray(overlay(image, heatmap)), (x + width, y + line))
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise DataError(f"--explain: cannot write {path!r} ({error})") from None
