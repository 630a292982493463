"""History: its attributes, plots and notebook table."""

import sys

from support.scripted import fit
from support.tiny import refused

from minidl import callbacks


def test_a_history_knows_its_time_and_draws_itself(tmp_path):
    _, history = fit(loss=[3.0, 2.0, 1.0], val_loss=[2.0, 1.0, 3.0])
    assert 0 < history.seconds < 60
    figure = history.plot(tmp_path / "curves" / "plot.svg", title="curves")
    assert "<svg" in (tmp_path / "curves" / "plot.svg").read_text()
    train, validation, best = figure.axes[0].lines
    assert (list(train.get_ydata()), list(validation.get_ydata())) == ([3, 2, 1], [2, 1, 3])
    assert set(best.get_xdata()) == {2}


def test_a_history_without_matplotlib_shows_its_table(monkeypatch):
    _, history = fit(loss=[3.0, 2.0], note=["<b>", "fine"])
    assert "<svg" in history._repr_html_()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with refused(ImportError, "minidl[plot]"):
        history.plot()
    shown = history._repr_html_()
    assert "<svg" not in shown
    assert "<td>3</td>" in shown
    assert "<b>" not in shown
    assert "History 0 epochs" in callbacks.History()._repr_html_()
