"""The notebook: every cell runs, and the outputs support the statements of its text."""

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "from_scratch.ipynb"
NEEDED = ("nbformat", "nbclient", "ipykernel", "matplotlib")

nbformat, nbclient, *_ = [
    pytest.importorskip(name, reason=f"the notebook needs {name}: pip install '.[test]'")
    for name in NEEDED
]


def read_notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(notebook) -> str:
    return "".join(output.text for output in outputs(notebook) if output.output_type == "stream")


def claimed_margin(notebook) -> float:
    """How far ahead of one neuron the text says that the CNN is, as a fraction."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    points = re.findall(
        r"beats the single neuron by at least \*\*(\d+) percentage points\*\*", text
    )
    assert len(points) == 1, f"expected the claim once in the text, found {points}"
    return int(points[0]) / 100


def accuracy_of(name: str, text: str) -> float:
    return float(re.search(rf"{name} +test accuracy (\d\.\d+)", text).group(1))


def test_every_cell_runs_and_the_claims_hold(tmp_path):
    notebook = read_notebook()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None  # nothing stored can pass for new

    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises with the traceback of the first cell that fails

    assert not [o for o in outputs(notebook) if o.output_type == "error"]
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    text = printed(notebook)
    ahead = accuracy_of("small CNN", text) - accuracy_of("logistic regression", text)
    assert ahead >= claimed_margin(notebook)
    assert not list(tmp_path.iterdir()), "the notebook leaves files behind"


def test_stored_outputs_are_complete_and_publishable():
    notebook = read_notebook()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [
        o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"
    ]
    assert sum("image/png" in o.get("data", {}) for o in outputs(notebook)) > 15
    assert not re.search(r"(/home/|/tmp/|/root/|/Users/|[A-Z]:\\)", printed(notebook))
    assert NOTEBOOK.stat().st_size < 1_500_000


def test_links_exist():
    text = "\n".join(c.source for c in read_notebook().cells if c.cell_type == "markdown")
    headings = {match.replace(" ", "-") for match in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 15
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert (NOTEBOOK.parent / link).exists(), link
