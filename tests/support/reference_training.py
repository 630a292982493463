"""Slow, obvious twins of losses, metrics and optimizer steps: one number at a time."""

import math

import numpy as np


def softmax(row):
    largest = max(row)
    exponentials = [math.exp(z - largest) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def binary_crossentropy(targets, predictions, from_logits, smoothing):
    """Return the loss of each row of (N, K) lists."""
    losses = []
    for row_t, row_p in zip(targets, predictions, strict=True):
        terms = []
        for t, p in zip(row_t, row_p, strict=True):
            t = t * (1 - smoothing) + 0.5 * smoothing
            p = 1 / (1 + math.exp(-p)) if from_logits else min(max(p, 1e-7), 1 - 1e-7)
            terms.append(-t * math.log(p) - (1 - t) * math.log(1 - p))
        losses.append(sum(terms) / len(terms))
    return losses


def categorical_crossentropy(targets, predictions, from_logits, smoothing):
    """Return the loss of each row of (N, K) lists."""
    losses = []
    for row_t, row_p in zip(targets, predictions, strict=True):
        if from_logits:
            row_q = softmax(row_p)
        else:
            row_q = [min(max(p / sum(row_p), 1e-7), 1 - 1e-7) for p in row_p]
        row_t = [t * (1 - smoothing) + smoothing / len(row_t) for t in row_t]
        losses.append(-sum(t * math.log(q) for t, q in zip(row_t, row_q, strict=True)))
    return losses


def mean_squared_error(targets, predictions):
    return [
        sum((p - t) ** 2 for t, p in zip(row_t, row_p, strict=True)) / len(row_t)
        for row_t, row_p in zip(targets, predictions, strict=True)
    ]


def roc_auc(labels, scores, weights):
    """The share of pairs (positive, negative) in the right order; ties count half."""
    right = total = 0.0
    for label, score, weight in zip(labels, scores, weights, strict=True):
        for other_label, other_score, other_weight in zip(labels, scores, weights, strict=True):
            if label == 1 and other_label == 0:
                total += weight * other_weight
                right += (
                    weight * other_weight * ((score > other_score) + (score == other_score) / 2)
                )
    return right / total


def average_precision(labels, scores):
    """The mean, over the positives, of the precision when everything scoring less is cut off."""
    precisions = []
    for label, score in zip(labels, scores, strict=True):
        if label == 1:
            kept = [other for other, s in zip(labels, scores, strict=True) if s >= score]
            precisions.append(sum(kept) / len(kept))
    return sum(precisions) / len(precisions)


class SGD:
    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.lr, self.momentum, self.nesterov = learning_rate, momentum, nesterov
        self.weight_decay = weight_decay
        self.velocity = 0.0

    def step(self, w, g):
        """Return the scalar `w` after one step; the object holds that scalar's state."""
        w = w - w * self.weight_decay * self.lr
        self.velocity = self.momentum * self.velocity - self.lr * g
        if self.nesterov:
            return w + self.momentum * self.velocity - self.lr * g
        return w + self.velocity


class RMSprop:
    def __init__(
        self,
        learning_rate=0.001,
        rho=0.9,
        momentum=0.0,
        epsilon=1e-7,
        centered=False,
        weight_decay=0.0,
    ):
        self.lr, self.rho, self.momentum, self.epsilon = learning_rate, rho, momentum, epsilon
        self.centered, self.weight_decay = centered, weight_decay
        self.square = self.mean = self.velocity = 0.0

    def step(self, w, g):
        w = w - w * self.weight_decay * self.lr
        self.square = self.rho * self.square + (1 - self.rho) * g * g
        self.mean = self.rho * self.mean + (1 - self.rho) * g
        variance = self.square - (self.mean**2 if self.centered else 0.0)
        step = self.lr * g / math.sqrt(max(variance, 0.0) + self.epsilon)
        self.velocity = self.momentum * self.velocity + step
        return w - self.velocity


class Adam:
    def __init__(
        self,
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-7,
        amsgrad=False,
        weight_decay=0.0,
    ):
        self.lr, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.amsgrad, self.weight_decay = amsgrad, weight_decay
        self.m = self.v = self.largest = 0.0
        self.t = 0

    def step(self, w, g):
        w = w - w * self.weight_decay * self.lr
        self.t += 1
        self.m = self.beta_1 * self.m + (1 - self.beta_1) * g
        self.v = self.beta_2 * self.v + (1 - self.beta_2) * g * g
        self.largest = max(self.largest, self.v)
        v = self.largest if self.amsgrad else self.v
        alpha = self.lr * math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        return w - alpha * self.m / (math.sqrt(v) + self.epsilon)


def numerical_gradient(function, x, step=1e-5):
    """Return the central differences of the scalar `function` at `x`, element by element."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            gradient[index] += sign * function(moved) / (2 * step)
    return gradient
