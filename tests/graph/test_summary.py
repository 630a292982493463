"""The table of ``summary()``: rows, totals, frozen marks, multiply-adds."""

import io
import re
import sys

import numpy as np
from support.pages import Markup

from minidl import Input, layers
from minidl.graph.network import Network


def table(network):
    lines = []
    network.summary(print_fn=lines.append)
    return "\n".join(lines)


def small_network():
    x = Input((8, 8, 3), name="photos")
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)  # 8*8 * 9*3*4 multiply-adds
    z = layers.BatchNormalization(name="norm")(y)
    z = layers.Flatten(name="flat")(layers.Add(name="sum")([y, z]))
    return Network(x, layers.Dense(10, name="head")(z), name="net")


def test_every_layer_has_a_row_with_its_shape_parameters_and_inputs():
    rows = {line.split()[0]: line for line in table(small_network()).splitlines() if " (" in line}
    assert re.search(r"conv \(Conv2D\)\s+\(None, 8, 8, 4\)\s+112\s+6,912\s+photos$", rows["conv"])
    assert re.search(r"norm \(BatchNormalization\)\s+\(None, 8, 8, 4\)\s+16\s+conv$", rows["norm"])
    assert re.search(r"sum \(Add\)\s+\(None, 8, 8, 4\)\s+conv, norm$", rows["sum"])
    assert re.search(r"head \(Dense\)\s+\(None, 10\)\s+2,570\s+2,560\s+flat$", rows["head"])
    assert re.search(r"photos \(InputLayer\)\s+\(None, 8, 8, 3\)$", rows["photos"])


def test_totals():
    text = table(small_network())
    assert text.startswith("Network 'net'\n")
    assert "Parameters: 2,698 (0.01 MiB)" in text  # 112 + 16 + 2570 float32
    assert "Trainable: 2,690; frozen or statistics: 8" in text  # moving mean and variance
    assert "Multiply-adds per sample: 9,472" in text  # 6,912 + 2,560
    size = sum(w.nbytes for w in small_network().get_weights())
    assert size == 2698 * 4


def test_frozen_layers_are_marked_and_counted():
    network = small_network()
    network.freeze(until="norm")
    text = table(network)
    assert "conv (Conv2D) frozen" in text
    assert "norm (BatchNormalization) frozen" in text
    assert "head (Dense) frozen" not in text
    assert "flat (Flatten) frozen" not in text  # nothing in it to freeze
    assert "Trainable: 2,570; frozen or statistics: 128" in text


def test_a_shared_layer_has_its_parameters_once_but_works_at_each_call():
    x, z = Input((4,)), Input((4,))
    dense = layers.Dense(5)
    text = table(Network([x, z], layers.Add()([dense(x), dense(z)])))
    assert "Parameters: 25 " in text
    assert "Multiply-adds per sample: 40" in text


def test_summary_prints_by_default(capsys):
    small_network().summary()
    assert "Layer (type)" in capsys.readouterr().out


def test_unknown_sizes_are_shown_as_unknown():
    x = Input((None, None, 3))
    text = table(Network(x, layers.Conv2D(2, 3)(x)))
    assert "(None, None, None, 2)" in text
    assert np.all([len(line) < 120 for line in text.splitlines()])


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colors_on_a_terminal_only(monkeypatch, capsys):
    network = small_network()
    network.freeze(until="conv")
    network.summary()
    plain = capsys.readouterr().out
    assert "\033" not in plain
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    network.summary()
    shown = sys.stdout.getvalue()
    (dimmed,) = [line for line in shown.splitlines() if line.startswith("\033[2m")]
    assert "conv (Conv2D) frozen" in dimmed
    assert "\033[1mParameters: 2,698" in shown
    assert re.sub(r"\033\[\dm", "", shown) == plain
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            patch.setattr(sys, "stdout", Terminal())
            network.summary()
            assert sys.stdout.getvalue() == plain
    assert "\033" not in table(network)  # print_fn gets plain text, on a terminal, too


def test_the_table_of_a_notebook_says_the_same():
    network = small_network()
    network.freeze(until="norm")
    network.name = "<net>"
    page = network._repr_html_()
    markup = Markup(page)
    assert markup.problems == []
    assert page.count('class="frozen"') == 2
    words = " ".join(markup.words)
    for text in ("Network '<net>'", "conv (Conv2D) frozen", "6,912", "Parameters: 2,698"):
        assert text in words
