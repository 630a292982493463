"""Scores of six samples for three classes, with labels and weights."""

import numpy as np

# Three classes, six samples: the largest scores are 0, 1, 1, 2, 0, 2.
SCORES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.6, 0.3],
        [0.2, 0.5, 0.3],
        [0.1, 0.2, 0.7],
        [0.4, 0.3, 0.3],
        [0.3, 0.1, 0.6],
    ]
)


LABELS = np.array([0, 1, 2, 2, 1, 0])  # right: samples 0, 1, 3


ONE_HOT = np.eye(3)[LABELS]


WEIGHTS = np.array([1.0, 2.0, 1.0, 1.0, 4.0, 1.0])
