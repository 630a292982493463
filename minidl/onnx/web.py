"""A web page that classifies photos in the browser, with the exported model beside it.

The page is one file with its own style sheet and script; it loads nothing from other sites. The
user installs onnxruntime-web beside it: ``npm install onnxruntime-web`` in its folder.

>>> import os, tempfile
>>> from minidl.applications import PetsNet
>>> from minidl.onnx.web import write_web
>>> folder = tempfile.mkdtemp()
>>> _ = write_web(PetsNet(), folder)
>>> sorted(os.listdir(folder))
['index.html', 'model.onnx']
"""

from __future__ import annotations

import html
import importlib.resources
import json
import os
from pathlib import Path

from minidl.common.atomic_files import write_file
from minidl.evaluation import classifier, out_of_distribution
from minidl.models.model import Model
from minidl.onnx.export import export_model

__all__ = ["render", "write_web"]

# Escaped, so that no text of a class can end the element that holds the JSON.
ESCAPED = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def write_web(model: Model, folder: str | os.PathLike[str], license: str | None = None) -> Path:
    """Write ``index.html`` and ``model.onnx`` into a folder, which is created if necessary.

    The model contains the resizing of the photo.

    Parameters
    ----------
    model : Model
        A classifier of images.
    folder : str or Path
    license : str, optional
        See :func:`minidl.onnx.export.to_onnx`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If the model is not a classifier of images.
    OSError
        If a file cannot be written.
    """
    page = render(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    export_model(model, folder / "model.onnx", resize=True, license=license)
    write_file(folder / "index.html", page)
    return folder / "index.html"


def render(model: Model) -> str:
    """Return the page as text; see :func:`write_web`."""
    names = classifier.class_names(model)
    size = classifier.image_size(model)  # raises for a model that does not take images
    facts = {
        "class_names": names,
        "color_mode": classifier.color_mode(model),
        "image_size": size,
        "ood_threshold": out_of_distribution.THRESHOLD,
    }
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
    files = importlib.resources.files("minidl.onnx").joinpath("page")
    style, script = (files.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{html.escape(model.name)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{html.escape(model.name)}</h1>
<p class="lead">Classes: {html.escape(shown)}. The photo is classified in this browser and sent
nowhere.</p>
</header>
<main>
<input type="file" id="file" accept="image/*" aria-describedby="status">
<label id="drop" for="file"><strong>Drop a photo here</strong>
<span>or choose a file</span></label>
<p id="status" role="status">Loading the model ...</p>
<section id="result" aria-labelledby="verdict" hidden>
<canvas id="photo" role="img" aria-label="The photo"></canvas>
<div>
<h2 id="verdict"></h2>
<table><caption>Probability of each class</caption><tbody id="classes"></tbody></table>
</div>
</section>
</main>
<footer><p>Made with minidl. The model is <code>model.onnx</code>.</p></footer>
<script type="application/json" id="model">{json.dumps(facts).translate(ESCAPED)}</script>
<script>
{script}</script>
</body>
</html>
"""
