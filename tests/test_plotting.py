"""Pictures of a training."""

import numpy as np

from minidl import plotting


def test_learning_curves_leave_out_what_is_no_number(tmp_path):
    history = {"loss": [0.7, 0.4], "confusion_matrix": [np.eye(2), np.eye(2)]}
    plotting.plot_history(history, tmp_path / "both.png")
    plotting.plot_history({"loss": history["loss"]}, tmp_path / "loss.png")
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "loss.png").read_bytes()
