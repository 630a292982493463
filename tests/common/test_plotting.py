"""Learning curves, image grids, and SVG for pages."""

import numpy as np
from support.pages import Markup

from minidl.callbacks import History
from minidl.common import plotting


def test_learning_curves_ignore_logs_that_are_not_numbers(tmp_path):
    history = {"loss": [0.7, 0.4], "confusion_matrix": [np.eye(2), np.eye(2)]}
    plotting.plot_history(history, tmp_path / "both.png")
    plotting.plot_history({"loss": history["loss"]}, tmp_path / "loss.png")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "loss.png").read_bytes()


def test_a_validation_in_every_second_epoch_is_drawn_at_its_epochs():
    history = {"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [0.5, 0.9]}
    axes = plotting.history_figure(history).axes[0]
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1, 2, 3, 4], [2, 4]]
    assert plotting.best_epoch(history) == 2


def test_the_best_epoch_has_the_lowest_finite_validation_loss():
    assert plotting.best_epoch({"loss": [3, 2, 1], "val_loss": [float("nan"), 2, 3]}) == 2
    assert plotting.best_epoch({"loss": [3, 2, 1]}) == 3
    assert plotting.best_epoch({"loss": [float("nan")]}) is None
    assert plotting.best_epoch({}) is None
    part = History()  # of fit(initial_epoch=5)
    for epoch, loss in ((5, 3.0), (6, 2.0)):
        part.on_epoch_end(epoch, {"loss": loss})
    assert plotting.best_epoch(part) == 7
    # The single validation could belong to any of the three epochs.
    assert plotting.best_epoch({"loss": [3, 2, 1], "val_loss": [1]}) is None


def test_svg_takes_font_and_colors_from_the_page():
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


def test_characters_missing_in_the_font_cause_no_warning(recwarn, tmp_path):
    figure = plotting.images_figure(np.zeros((1, 4, 4, 3)), ["日本語"])
    assert "日本語" in plotting.to_svg(figure, "x", "")
    plotting.save_figure(figure, tmp_path / "x.png")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_titles_of_wrong_predictions_are_red():
    figure = plotting.images_figure(np.zeros((3, 4, 4, 1)), ["a", "b", "c"], 2, [True, False, True])
    colors = [axes.title.get_color() for axes in figure.axes]
    assert colors[:3] == [plotting.WRONG, "black", plotting.WRONG]
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]


def test_bars_are_drawn_from_top_to_bottom(monkeypatch):
    figures = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, path: figures.append(figure))
    plotting.plot_bars({"first": 1.0, "second": 3.0}, "bars.png", "seconds", "times")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 3.0]
    assert axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_title()) == ("seconds", "times")


def test_figures_are_saved_into_new_folders(tmp_path):
    path = tmp_path / "new" / "grid.svg"
    plotting.plot_images(np.zeros((1, 4, 4, 3)), ["a"], path)
    assert path.read_text().startswith("<?xml")
