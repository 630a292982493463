"""A custom layer and a custom loss: generalized-mean pooling and the focal loss.

    python examples/11_custom_layer_and_loss.py
    python examples/11_custom_layer_and_loss.py --seed 0 1 2 3 4

The generalized mean (Radenovic, Tolias and Chum, 2018, https://arxiv.org/abs/1711.02512) lies
between average and max pooling: ``(mean of x**p) ** (1/p)`` with a learned exponent p per channel.
The focal loss (Lin and others, 2017, https://arxiv.org/abs/1708.02002) reduces the weight of
samples that are already classified correctly: ``-(1 - q)**gamma * log(q)`` with q the probability
of the true class.

Both gradients are checked against finite differences before training. Then both are compared with
minidl's own pooling and loss, on the same drawings and seeds. The differences are small.
"""

import common
import numpy as np

import minidl
from minidl import Input, Sequential, layers, optimizers
from minidl.common.errors import ShapeError
from minidl.losses import BinaryCrossentropy, Loss
from minidl.training import gradcheck

EPOCHS = 8


class GeneralizedMeanPooling2D(layers.Layer):
    """(N, H, W, C) -> (N, C): the generalized mean of each channel, with a learned exponent."""

    SMALLEST = 1e-4  # lower bound of x, which must be positive

    def build(self, input_shape):
        self.p = self.add_weight("p", (input_shape[-1],), "ones")

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 4:
            raise ShapeError(f"{self.label}: expected (N, H, W, C), received {input_shape}")
        return input_shape[0], input_shape[3]

    def forward(self, x, training=False, rng=None):
        p = self.p.value
        x = np.maximum(x, self.SMALLEST)
        powers = x**p
        mean = powers.mean(axis=(1, 2), keepdims=True)  # (N, 1, 1, C)
        y = mean ** (1 / p)
        return y[:, 0, 0], (x, powers, mean, y)

    def backward(self, dy, cache, need_dx=True):
        x, powers, mean, y = cache
        p, dy = self.p.value, dy[:, None, None]
        pixels = x.shape[1] * x.shape[2]
        # y = mean**(1/p), so dy/dx = y / mean * x**(p-1) / pixels
        dx = dy * y / mean * powers / x / pixels * (x > self.SMALLEST)
        # log y = log(mean) / p
        slope = (powers * np.log(x)).mean(axis=(1, 2), keepdims=True) / mean
        dp = (dy * y * (slope / p - np.log(mean) / p**2)).sum(axis=(0, 1, 2))
        return dx if need_dx else None, [dp]


class FocalLoss(Loss):
    """``-(1 - q)**gamma * log(q)``, q being the probability of the true class of two."""

    def __init__(self, gamma: float = 2.0):
        self.gamma = gamma

    def value_and_gradient(self, y_true, y_pred, sample_weight=None):
        one = np.reshape(y_true, y_pred.shape) > 0.5
        q = np.clip(np.where(one, y_pred, 1 - y_pred), 1e-6, 1.0)
        rest, gamma = 1 - q, self.gamma
        weight = 1.0 if sample_weight is None else np.reshape(sample_weight, (-1, 1))
        loss = -(rest**gamma) * np.log(q) * weight
        dq = (gamma * rest ** (gamma - 1) * np.log(q) - rest**gamma / q) * weight
        gradient = np.where(one, dq, -dq) / q.size
        return float(loss.mean()), gradient.astype(y_pred.dtype)


def check_gradients() -> None:
    """Raise an error if a gradient disagrees with finite differences."""
    rng = np.random.default_rng(0)
    report = gradcheck(GeneralizedMeanPooling2D(), rng.uniform(0.1, 2, (3, 4, 5, 2)))
    print(f"layer: largest relative error {report.worst:.1e} in {len(report.checks)} checks")
    loss, y, p, step = FocalLoss(), np.array([[0], [1], [1]]), rng.uniform(0.2, 0.8, (3, 1)), 1e-6
    _, gradient = loss.value_and_gradient(y, p)
    for i in range(3):
        shift = np.eye(3)[:, [i]] * step
        numeric = (loss(y, p + shift) - loss(y, p - shift)) / (2 * step)
        if not np.isclose(numeric, gradient[i, 0], rtol=1e-6):
            raise SystemExit(f"focal loss: gradient {gradient[i, 0]}, by differences {numeric}")
    print("loss: agrees with finite differences")


def accuracy(options, seed: int, pooling, loss) -> float:
    """Train a small network with this pooling and loss; return the test accuracy."""
    minidl.set_random_seed(seed)
    train, _, test = common.load(options, seed, validation=0)
    size = options.image_size
    stack = [Input((size, size, 3)), layers.RandomFlip("horizontal"), layers.Rescaling(1 / 255)]
    for filters in (16, 32, 64):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D()]
    model = Sequential([*stack, pooling(), layers.Dense(1, activation="sigmoid")])
    model.compile(optimizers.Adam(2e-3), loss(), metrics=["accuracy"])
    if model.fit(train, epochs=options.epochs, verbose=0).interrupted:
        raise KeyboardInterrupt
    return model.evaluate(test, return_dict=True, verbose=0)["accuracy"]


def main(options) -> None:
    check_gradients()
    for pooling in (layers.GlobalAveragePooling2D, GeneralizedMeanPooling2D):
        for loss in (BinaryCrossentropy, FocalLoss):
            found = [accuracy(options, seed, pooling, loss) for seed in options.seed]
            spread = f" (from {min(found):.4f} to {max(found):.4f})" if len(found) > 1 else ""
            name = f"{pooling.__name__} and {loss.__name__}"
            print(f"{name}: mean test accuracy {np.mean(found):.4f}{spread}", flush=True)


if __name__ == "__main__":
    with common.guarded("custom_layer_and_loss"):
        main(common.parse(__doc__, epochs=EPOCHS, other_test=False))
