"""Checks of an HTML page: its markup, and how a real browser shows it."""

import html.parser
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest

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
  found.sticksOut = [...page.querySelectorAll("body *")].filter((e) => !scrolls(e) &&
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
  found.textColours = [...page.querySelectorAll("svg text")].map(
    (e) => frame.contentWindow.getComputedStyle(e).fill).filter((c, i, l) => l.indexOf(c) === i);
  document.getElementById("found").textContent = JSON.stringify(found);
}};
</script>"""


class Markup(html.parser.HTMLParser):
    """Collects ids, links and images of a page, and complains of tags that do not match."""

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
    """Assert that a page is whole, loads nothing from elsewhere and runs no script."""
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
    """Return the JSON that a report holds."""
    return json.loads(re.search(r'<script[^>]*id="figures">(.*?)</script>', page, re.DOTALL)[1])


def browse(path: Path, width: int, dark: bool = False) -> dict:
    """Show a page in headless Chromium, as wide as asked for; return what was found."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        harness = Path(folder, "harness.html")
        harness.write_text(HARNESS.format(width=width, url=path.resolve().as_uri()))
        result = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
                "--enable-logging=stderr",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--user-data-dir={folder}/profile", f"--window-size={max(width, 500)},900",
                "--virtual-time-budget=10000", "--dump-dom", harness.as_uri(),
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    text = re.search(r'<pre id="found">(.*?)</pre>', result.stdout, re.DOTALL)
    assert text, f"Chromium showed nothing: {result.stderr[-2000:]}"
    found = json.loads(html.unescape(text[1]))
    found["console"] = re.findall(r".*CONSOLE.*", result.stderr)
    return found
