"""Display of models, histories, figures and progress bars in a real notebook kernel."""

import re

import pytest
from support.pages import Markup

NEEDED = ("nbformat", "nbclient", "ipykernel", "matplotlib")
nbformat, nbclient, *_ = [
    pytest.importorskip(name, reason=f"a notebook needs {name}: pip install '.[test]'")
    for name in NEEDED
]

CELLS = [
    "import numpy as np\n"
    "from minidl import Input, Sequential, layers, report\n"
    "from minidl.data import ArrayDataset\n"
    "model = Sequential([Input((8, 8, 3)), layers.Conv2D(4, 3, name='<conv>'),\n"
    "                    layers.GlobalAveragePooling2D(), layers.Dense(1, 'sigmoid')])\n"
    "x, y = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)), np.arange(8) % 2\n"
    "model.compile('adam', 'binary_crossentropy', metrics=['accuracy'])",
    "model",
    "history = model.fit(x, y, epochs=2, batch_size=4, verbose=1)",
    "history",
    "history.plot()",
    "report.show_batch(ArrayDataset(x, y), count=4)",
    "_ = model.fit(x, y, epochs=1, batch_size=4)",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    made = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=made)
    resources = {"metadata": {"path": folder}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    return notebook.cells


def shown(cell) -> dict:
    (result,) = [o for o in cell.outputs if o.output_type == "execute_result"]
    return result.data


def printed(cell) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def test_a_model_is_a_table(cells):
    markup = Markup(shown(cells[1])["text/html"])
    assert markup.problems == []
    assert "<conv> (Conv2D)" in " ".join(markup.words)


def test_a_history_is_its_curves_and_a_table(cells):
    html = shown(cells[3])["text/html"]
    markup = Markup(html)
    assert markup.problems == []
    assert max(markup.ids.values()) == 1
    assert html.count("<svg") == 1
    assert html.count("<tr>") == 3  # the heading and two epochs
    assert re.search(r"2 epochs in \d+\.\d s", html)


def test_figures_display_without_pyplot(cells):
    for cell in (cells[4], cells[5]):
        assert len(shown(cell)["image/png"]) > 1000


def test_bars_and_lines(cells):
    bar, line = printed(cells[2]), printed(cells[6])
    widgets = any("widget" in str(o.get("data", "")) for o in cells[2].outputs)
    assert widgets or "Epoch 2/2: 100%" in bar
    assert "IProgress" not in bar
    widgets = any("widget" in str(o.get("data", "")) for o in cells[6].outputs)
    assert widgets or line.startswith("Epoch 1/1 - ")
