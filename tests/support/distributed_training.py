"""A small training that the tests start on several ranks; prints one line of JSON on each."""

import argparse
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np

import minidl
from minidl import Input, Sequential, callbacks, layers, optimizers

CODE = "from support.distributed_training import main; main()"


def random_net():
    """Return a network with augmentation, batch statistics and dropout."""
    return Sequential(
        [
            Input((12, 12, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax", kernel_regularizer="l2", name="out"),
        ]
    )


def photos(count=50):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (count, 12, 12, 3)).astype(np.float32), np.arange(count) % 3


def hash_of(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def result_of(shards=8, frozen=False, epochs=2, model_file=None, resume=False, kill=None, **fit):
    """Train, evaluate and predict; return hashes and numbers."""
    minidl.set_random_seed(3)
    if resume:
        model = minidl.load_model(model_file)
    else:
        model = random_net()
        if frozen:
            model.freeze(until="dropout")
        metrics = ["accuracy", "confusion_matrix", "auc"][: 2 if frozen else 1]
        model.compile(optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics)

    def stop(epoch, logs):
        if kill == (minidl.distributed.rank(), epoch):
            os.kill(os.getpid(), signal.SIGKILL)

    listed = [callbacks.LambdaCallback(on_epoch_begin=stop)]
    listed += [callbacks.ModelCheckpoint(model_file)] if model_file else []
    x, y = photos()
    history = model.fit(
        x, y, batch_size=20, epochs=epochs, validation_data=(x, y), verbose=0,
        callbacks=listed, shards=None if resume else shards, resume=resume, **fit,
    )  # fmt: skip
    state = model.optimizer.get_state()
    return {
        "weights": hash_of(model.get_weights()),
        "optimizer": hash_of(a for slots in state["slots"].values() for a in slots.values()),
        "history": repr(history.history),
        "predictions": hash_of([model.predict(x, batch_size=7)]),
        "evaluation": repr(model.evaluate(x, y, batch_size=9)),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kill", type=int, nargs=2)
    parser.add_argument("--frozen", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--model-file", type=Path)
    options = vars(parser.parse_args())
    minidl.set_num_threads(options.pop("threads"))
    options["kill"] = tuple(options["kill"] or ()) or None
    sys.stdout.write(json.dumps(result_of(**options)) + "\n")
