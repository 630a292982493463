"""Pictures of a training."""

import numpy as np
from support.pages import Markup

from minidl.callbacks import History
from minidl.common import plotting


def test_learning_curves_leave_out_what_is_no_number(tmp_path):
    history = {"loss": [0.7, 0.4], "confusion_matrix": [np.eye(2), np.eye(2)]}
    plotting.plot_history(history, tmp_path / "both.png")
    plotting.plot_history({"loss": history["loss"]}, tmp_path / "loss.png")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "loss.png").read_bytes()


def test_a_curve_of_validation_in_each_second_epoch_lies_where_it_belongs():
    history = {"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [0.5, 0.9]}
    axes = plotting.history_figure(history).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1, 2, 3, 4], [2, 4]]
    assert plotting.best_epoch(history) == 2


def test_the_best_epoch_is_that_of_the_lowest_finite_validation_loss():
    assert plotting.best_epoch({"loss": [3, 2, 1], "val_loss": [float("nan"), 2, 3]}) == 2
    assert plotting.best_epoch({"loss": [3, 2, 1]}) == 3
    assert plotting.best_epoch({"loss": [float("nan")]}) is None
    assert plotting.best_epoch({}) is None
    part = History()  # of fit(initial_epoch=5)
    for epoch, loss in ((5, 3.0), (6, 2.0)):
        part.on_epoch_end(epoch, {"loss": loss})
    assert plotting.best_epoch(part) == 7
    # Which of the three epochs the one validation belongs to is not known.
    assert plotting.best_epoch({"loss": [3, 2, 1], "val_loss": [1]}) is None


def test_svg_takes_font_and_colours_from_the_page():
    figure = plotting.history_figure({"loss": [2, 1], "val_loss": [2, 3], "a<b&$": [1, 2]})
    svg = plotting.to_svg(figure, "first", 'a "label"')
    check = Markup(svg)
    assert check.problems == []
    assert max(check.ids.values()) == 1
    assert all(name.startswith("first-") for name in check.ids)
    assert "var(--series-1" in svg
    assert "currentColor" in svg
    assert "a<b&$" in "".join(check.words)
    assert "font-family" not in svg
    assert "#000000" not in svg
    assert "<style" not in svg


def test_letters_that_the_font_lacks_are_no_matter(recwarn, tmp_path):
    figure = plotting.images_figure(np.zeros((1, 4, 4, 3)), ["日本語"])
    assert "日本語" in plotting.to_svg(figure, "x", "")
    plotting.save_figure(figure, tmp_path / "x.png")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
