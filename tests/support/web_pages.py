"""The web page of an exported model in headless Chromium, with onnxruntime-web from npm."""

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest
from support.pages import chromium_command

# Opens the page in a frame, drops photos onto it one after the other, and posts what it shows.
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<iframe id="frame" style="border: 0; width: {width}px; height: 900px" src="index.html"></iframe>
<script>
const photos = {photos};
const page = () => frame.contentDocument;
const until = async (check) => {{
  for (let i = 0; i < 600; i++) {{
    if (check()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }}
  throw new Error("nothing happened: " + page().getElementById("status").textContent);
}};
async function drop(name) {{
  const content = await (await fetch("photos/" + name)).blob();
  const transfer = new frame.contentWindow.DataTransfer();
  transfer.items.add(new File([content], name, {{ type: content.type }}));
  const event = new frame.contentWindow.DragEvent(
    "drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }});
  page().getElementById("drop").dispatchEvent(event);
  const result = page().getElementById("result"), status = page().getElementById("status");
  await until(() => result.dataset.file === name || status.className === "error");
  const rows = [...page().querySelectorAll("#classes tr")];
  return {{
    status: status.textContent,
    hidden: result.hidden,
    verdict: page().getElementById("verdict").textContent,
    bars: rows.map((row) => {{
      const bar = row.querySelector("td.bar");
      return bar.firstChild.getBoundingClientRect().width / bar.getBoundingClientRect().width;
    }}),
    probabilities: Object.fromEntries(
      rows.map((row) => [row.firstChild.textContent, +row.dataset.probability])),
  }};
}}
frame.onload = async () => {{
  const found = {{ results: [] }};
  try {{
    const status = page().getElementById("status");
    await until(() => status.textContent !== "Loading the model ...");
    found.ready = status.textContent;
    for (const name of photos) found.results.push(await drop(name));
    const root = page().documentElement;
    found.scrollWidth = root.scrollWidth;
    found.dark = frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches;
    found.background = frame.contentWindow.getComputedStyle(page().body).backgroundColor;
    page().getElementById("file").focus();
    found.focused = page().activeElement.id;
    found.labels = page().getElementById("file").labels.length;
  }} catch (error) {{
    found.error = String(error);
  }}
  await fetch("found", {{ method: "POST", body: JSON.stringify(found) }});
}};
</script>"""


def install_runtime(folder: Path) -> None:
    """Install onnxruntime-web into a folder as the page's user does; skip without npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (Debian: apt-get install npm)")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
    result = subprocess.run(
        [*command, "onnxruntime-web"], capture_output=True, text=True, timeout=300
    )
    if result.returncode:
        pytest.skip(f"npm cannot install onnxruntime-web: {result.stderr[-300:]}")


def drop_photos(folder: Path, photos: list[Path], width: int = 1000, dark: bool = False) -> dict:
    """Drop photos onto the page in a folder, and return what it shows for each.

    Parameters
    ----------
    folder : Path
        It contains ``index.html``.
    photos : list of Path
    width : int
        Width of the page in pixels.
    dark : bool
    """
    (folder / "photos").mkdir(exist_ok=True)
    for photo in photos:
        shutil.copy(photo, folder / "photos" / photo.name)
    names = json.dumps([photo.name for photo in photos])
    (folder / "harness.html").write_text(HARNESS.format(width=width, photos=names))
    found: dict = {}
    arrived = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers["Content-Length"])
            found.update(json.loads(self.rfile.read(size)))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_):
            pass

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Handler, directory=str(folder))
        ) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/harness.html"
        command = [*chromium_command(profile, width, dark), "--remote-debugging-port=0", url]
        browser = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert arrived.wait(120), "the page in Chromium did not answer within two minutes"
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
    return found
