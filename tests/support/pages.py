"""Checks of HTML reports: markup, metrics, and layout in a real browser."""

import html.parser
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from minidl.data import load_image

VOID = {"meta", "link", "img", "input", "br", "hr", "col", "wbr", "source"}
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe id="frame" style="border: 0; width: {width}px; height: 900px" src="{url}"></iframe>
<pre id="found"></pre>
<script>
frame.onload = () => {{
  const page = frame.contentDocument, root = page.documentElement, found = {{}};
  found.dark = frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches;
  found.background = frame.contentWindow.getComputedStyle(page.body).backgroundColor;
  page.querySelectorAll("details").forEach((part) => {{ part.open = true; }});
  found.width = root.clientWidth;
  found.scrollWidth = root.scrollWidth;
  const scrolls = (e) => e.closest(".scroll, .hidden, svg");
  found.overflowing = [...page.querySelectorAll("body *")].filter((e) => !scrolls(e) &&
    e.getBoundingClientRect().right > root.clientWidth + 0.5).map((e) => e.outerHTML.slice(0, 80));
  const images = [...page.images];
  found.images = images.length;
  found.broken = images.filter((image) => !image.complete || image.naturalWidth === 0).length;
  const shown = (image) => frame.contentWindow.getComputedStyle(image).opacity;
  found.photos = [...page.querySelectorAll("label.photo")].slice(0, 2).map((label) => {{
    const overlay = label.querySelector(".overlay"), box = label.querySelector("input");
    overlay.style.transition = "none";
    const states = [shown(overlay)];
    label.click(); states.push(shown(overlay));
    label.click(); states.push(shown(overlay));
    box.focus();
    return {{ states, focused: page.activeElement === box }};
  }});
  const all = page.querySelector(".all");
  if (all) {{
    const overlay = all.parentElement.querySelector(".overlay");
    all.click(); found.all = shown(overlay);
    overlay.closest("label").click(); found.allBut = shown(overlay);
  }}
  found.textColors = [...page.querySelectorAll("svg text")].map(
    (e) => frame.contentWindow.getComputedStyle(e).fill).filter((c, i, l) => l.indexOf(c) === i);
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script>"""


class Markup(html.parser.HTMLParser):
    """Collects ids, links and images of a page, and unmatched tags."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.scripts: list[dict] = []
        self.images: list[dict] = []
        self.problems: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self._note(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes nothing")

    def handle_data(self, data):
        self.words.append(data)

    def _note(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(set(names)) < len(names):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        known = dict(attributes)
        self.ids.update([known["id"]] if "id" in known else [])
        self.links += [known[name] for name in ("href", "src", "for") if name in known]
        self.links += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in known.values()))
        if tag == "script":
            self.scripts.append(known)
        if tag == "img":
            self.images.append(known)
        if any(name.startswith("on") for name in names):
            self.problems.append(f"<{tag}> has a handler: {names}")


def check_markup(page: str) -> Markup:
    """Assert that a page is valid, loads no other file and runs no script."""
    markup = Markup(page)
    assert markup.problems == []
    assert [i for i, n in markup.ids.items() if n > 1] == []
    for link in markup.links:
        target = link.strip("'\"").removeprefix("#")
        assert link.startswith("data:") or target in markup.ids, link
    assert [s.get("type") for s in markup.scripts] == ["application/json"]
    assert all("alt" in image and image["src"].startswith("data:") for image in markup.images)
    assert not re.search(r"https?:|@import", page)
    return markup


def figures_of(page: str) -> dict:
    """Return the JSON of a report."""
    return json.loads(re.search(r'<script[^>]*id="figures">(.*?)</script>', page, re.DOTALL)[1])


def read_report(path):
    """Check a report; return its text, its markup and its metrics."""
    page = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    return page, check_markup(page), figures_of(page)


def check_figures(figures, model, folder, size, classes):
    """Compare a report's metrics with explicit computations from the files."""
    names = sorted(p.name for p in folder.iterdir())
    assert figures["classes"] == names
    labels, rows = [], []
    for k, name in enumerate(names):
        for file in sorted((folder / name).iterdir()):
            image = load_image(file, size)[None].astype(np.float32)
            labels.append(k)
            rows.append(model.predict(image)[0].astype(np.float64))
    labels, out = np.array(labels), np.array(rows)
    if classes == 2:
        p1 = 1 / (1 + np.exp(-out[:, 0])) if model.loss.from_logits else out[:, 0]
        p = np.stack([1 - p1, p1], axis=1)
    else:
        e = np.exp(out - out.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True) if model.loss.from_logits else out
    n = len(labels)
    said = p.argmax(axis=1)
    counts = [
        [int(((labels == a) & (said == b)).sum()) for b in range(classes)] for a in range(classes)
    ]
    assert figures["samples"] == n
    assert figures["confusion_matrix"] == counts
    assert figures["accuracy"] == pytest.approx((said == labels).mean(), abs=1e-12)
    loss = -np.mean(np.log(p[np.arange(n), labels]))
    assert figures["loss"] == pytest.approx(loss, rel=1e-4)
    for k, row in enumerate(figures["per_class"]):
        found = (said == k) & (labels == k)
        if (said == k).any():
            assert row["precision"] == pytest.approx(found.sum() / (said == k).sum())
        assert row["recall"] == pytest.approx(found.sum() / (labels == k).sum())
        own, other = p[labels == k, k][:, None], p[labels != k, k]
        area = ((own > other) + 0.5 * (own == other)).mean()
        assert row["auc"] == pytest.approx(area, abs=1e-3)  # ties in float32 are none in float64
    certainty, error = p.max(axis=1), 0.0
    for k in range(10):
        inside = (certainty > k / 10) & (certainty <= (k + 1) / 10)
        if inside.any():
            right = (said == labels)[inside].mean()
            error += inside.mean() * abs(right - certainty[inside].mean())
    assert figures["calibration"]["expected_calibration_error"] == pytest.approx(error, abs=1e-5)
    wrong = np.flatnonzero(said != labels)
    assert len(figures["mistakes"]) == min(12, len(wrong))
    if len(wrong):
        worst = wrong[p[wrong, labels[wrong]].argmin()]
        assert figures["mistakes"][0]["certainty"] == pytest.approx(certainty[worst], abs=1e-5)


def chromium_command(folder: str, width: int, dark: bool = False) -> list[str]:
    """Return the start of a command line of headless Chromium; skip the test if it is missing.

    Parameters
    ----------
    folder : str
        Folder for the browser's profile.
    width : int
        Width of the window in pixels.
    dark : bool
        Whether pages prefer a dark color scheme.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--user-data-dir={folder}/profile",
        f"--window-size={max(width, 500)},900",
    ]


def browse(path: Path, width: int, dark: bool = False) -> dict:
    """Measure a page in headless Chromium at a width in pixels."""
    with tempfile.TemporaryDirectory() as folder:
        command = chromium_command(folder, width, dark)
        harness = Path(folder, "harness.html")
        harness.write_text(HARNESS.format(width=width, url=path.resolve().as_uri()))
        result = subprocess.run(
            [
                *command,
                "--allow-file-access-from-files",
                "--virtual-time-budget=10000",
                "--dump-dom",
                harness.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    text = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    assert text, f"Chromium returned nothing: {result.stderr[-2000:]}"
    found = json.loads(html.unescape(text[1]))
    found["console"] = re.findall(r".*CONSOLE.*", result.stderr)
    return found
