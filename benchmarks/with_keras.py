"""Keras on TensorFlow as an engine of the benchmarks; see worker.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from workload import Workload

Job = dict[str, Any]


def start(threads: int) -> None:
    """Set the number of threads, before TensorFlow computes anything."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def versions() -> dict[str, str]:
    """Return the versions of the measured packages."""
    return {"keras": keras.__version__, "tensorflow": tf.__version__}


def prepare(job: Job) -> Any:
    """Return the step of a job."""
    return WORK[job["work"]](job)


def build(workload: Workload) -> keras.Model:
    """Return the network with the workload's weights; the layer names are those of Keras."""
    tensors = {}
    for node in workload.nodes:
        kind, config = node["class"], node["config"]
        if kind == "InputLayer":
            tensors[node["name"]] = keras.Input(workload.input_shape)
            continue
        if kind == "ImageNetPreprocessing":  # mode "tf"
            kind, config = "Rescaling", {"scale": 1 / 127.5, "offset": -1}
        layer = getattr(keras.layers, kind)(**config)
        inputs = [tensors[name] for name in node["inputs"]]
        tensors[node["name"]] = layer(inputs if len(inputs) > 1 else inputs[0])
        layer.set_weights(list(workload.weights(node).values()))
    first, last = workload.nodes[0]["name"], workload.nodes[-1]["name"]
    return keras.Model(tensors[first], tensors[last])


def _inference(job: Job) -> Any:
    workload = Workload(job["folder"])
    model = build(workload)
    x = tf.constant(workload.batch(job["batch"])[0])
    if job["variant"] == "tf.function":
        function = tf.function(lambda x: model(x, training=False))
        return lambda: function(x).numpy()
    model.compile(jit_compile=_jit(job))
    return lambda: model.predict_on_batch(x)


def _training(job: Job) -> Any:
    workload = Workload(job["folder"])
    model = build(workload)
    loss = "binary_crossentropy" if workload.is_binary else "sparse_categorical_crossentropy"
    optimizer = keras.optimizers.SGD(job["learning_rate"], momentum=0.9)
    model.compile(optimizer, loss, jit_compile=_jit(job))
    x, y = map(tf.constant, workload.batch(job["batch"]))

    def step() -> float:
        loss = model.train_on_batch(x, y)
        return float(loss[0] if isinstance(loss, (list, tuple)) else loss)

    return step


def _features(job: Job) -> Any:
    model = build(Workload(job["folder"]))
    model.compile(jit_compile=_jit(job))

    def extract(folder: str) -> np.ndarray:
        photos = _photos(job, folder, shuffle=False).map(lambda x, y: x)
        return model.predict(photos.prefetch(tf.data.AUTOTUNE), verbose=0)

    return lambda: extract(job["photos"]), lambda: extract(job["few_photos"])


def _transfer(job: Job) -> Any:
    base = build(Workload(job["folder"]))
    base.trainable = False
    inputs = keras.Input(base.input_shape[1:])
    x = keras.layers.Dropout(0.3)(base(inputs, training=False))
    head = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, head(x))
    model.compile(
        keras.optimizers.Adam(1e-3),
        "binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=_jit(job),
    )
    untrained = head.get_weights()

    def train(folder: str, epochs: int) -> float:
        head.set_weights(untrained)  # the same model, because its graphs are traced already
        # As in minidl, decoded photos stay in memory after the first epoch.
        photos = _photos(job, folder, shuffle=False).cache().shuffle(16, seed=0)
        photos = photos.prefetch(tf.data.AUTOTUNE)
        return model.fit(photos, epochs=epochs, verbose=0).history["loss"][-1]

    return lambda: train(job["photos"], job["epochs"]), lambda: train(job["few_photos"], 2)


def _photos(job: Job, folder: str, shuffle: bool) -> tf.data.Dataset:
    size = job["size"]
    return keras.utils.image_dataset_from_directory(
        folder,
        label_mode="binary",
        batch_size=job["batch"],
        image_size=(size, size),
        shuffle=shuffle,
        verbose=False,
    )


def _jit(job: Job) -> bool | str:
    return False if "without XLA" in job["variant"] else "auto"


WORK = {
    "inference": _inference,
    "training": _training,
    "features": _features,
    "transfer": _transfer,
}
