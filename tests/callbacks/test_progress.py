"""What a training prints: a bar on a terminal, lines elsewhere, nothing when asked for nothing."""

import importlib.util
import io
import os
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support.tiny import blobs, classifier, refused

from minidl.callbacks import LambdaCallback
from minidl.callbacks.progress import Progress, ProgressBar, display_mode, format_logs

X, Y = blobs()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fit(**arguments):
    return classifier().fit(X, Y, **{"epochs": 2, "batch_size": 8, **arguments})


def test_lines_where_there_is_no_terminal(capsys):
    fit(validation_split=0.25)
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    pattern = r"Epoch 1/2 - \d+\.\d s - loss 0\.\d{4} - accuracy \d\.\d{4} - val_loss 0\.\d{4}"
    assert re.match(pattern, first)
    assert second.startswith("Epoch 2/2 - ")
    assert err == ""


@pytest.mark.parametrize("verbose", ["auto", 1])
def test_a_bar_on_a_terminal(verbose, capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(verbose=verbose, validation_split=0.25)
    shown = terminal.getvalue()
    assert "Epoch 1/2: 100%" in shown
    assert "4/4" in shown
    assert re.search(r"00:0\d<00:0\d", shown)  # time gone and time left
    assert "val_loss 0." in shown
    assert capsys.readouterr().out == ""


def test_a_bar_without_an_end_where_the_number_of_batches_is_unknown(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    classifier().fit(((X[:4], Y[:4]) for _ in range(3)), epochs=1)
    assert "Epoch 1/1: 3batch" in terminal.getvalue()


def test_lines_on_a_terminal_when_asked_for(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(verbose=2)
    assert terminal.getvalue() == ""
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_nothing(capsys):
    fit(verbose=0, validation_split=0.25)
    assert capsys.readouterr() == ("", "")


def test_an_interrupted_bar_is_closed(monkeypatch, capsys):
    def interrupt(batch, logs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = ProgressBar(1)
    model = classifier()
    stop = LambdaCallback(on_train_batch_begin=interrupt)
    model.fit(X, Y, callbacks=[bar, stop], verbose=0)
    assert bar.progress is None


@pytest.mark.parametrize(("kernel", "widgets"), [(True, True), (True, False), (False, True)])
def test_a_bar_in_a_notebook_that_can_draw_one(kernel, widgets, monkeypatch):
    shell = SimpleNamespace(kernel=None) if kernel else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if widgets else None)
    assert display_mode("auto") == ("bar" if kernel and widgets else "lines")
    assert display_mode(0) == "nothing"


def test_wrong_verbose():
    with refused(ValueError, "verbose", "'auto'", "'loud'"):
        ProgressBar("loud")


def test_numbers_are_short():
    logs = {"loss": 0.30123, "accuracy": 1.0, "learning_rate": 2.5e-05}
    assert format_logs(logs) == "loss 0.3012, accuracy 1.0000, learning_rate 2.5e-05"


def test_what_is_no_number_is_left_out():
    logs = {"loss": np.float32(0.5), "matrix": np.eye(2), "note": "fine", "steps": 3}
    assert format_logs(logs) == "loss 0.5000, steps 3.0000"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_real_terminal():
    import fcntl
    import pty
    import termios

    code = (
        "import numpy as np\n"
        "from minidl import Sequential, layers\n"
        "model = Sequential([layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "model.fit(np.ones((8, 2)), np.ones(8), batch_size=2)\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    assert b"Epoch 1/1: 100%" in shown
    assert b"4/4" in shown


def one_pass(verbose):
    with Progress("Evaluation", total=3, verbose=verbose) as progress:
        for loss in (3.0, 2.0, 1.0):
            progress.update({"loss": loss})
        progress.finish({"loss": 2.0})


def test_a_pass_on_a_terminal_fills_its_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    one_pass("auto")
    assert "3/3" in terminal.getvalue()
    assert "loss 2.0000" in terminal.getvalue()


def test_a_pass_elsewhere_prints_one_line(capsys):
    one_pass(2)
    assert re.fullmatch(r"Evaluation - \d+\.\d s - loss 2\.0000\n", capsys.readouterr().out)
    one_pass(0)
    assert capsys.readouterr() == ("", "")


def test_an_error_closes_the_bar_without_a_line(capsys):
    with pytest.raises(ZeroDivisionError), Progress("Evaluation", 2, verbose=1) as progress:
        progress.update(1 / 0)
    assert progress.bar.disable  # tqdm's mark of a closed bar
    assert capsys.readouterr().out == ""
