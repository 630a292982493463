"""Test sets in a fixed order, and predictions for them."""

import numpy as np
import pytest
from support.tiny import blobs, classifier, make_photos, refused

from minidl import Input, Sequential, layers
from minidl.common.errors import DataError, ShapeError
from minidl.data import ArrayDataset, ImageFolder, load_image
from minidl.report.predictions import TestSet, as_classes, predict_all


def test_shuffled_folder_is_read_in_the_order_of_its_files(tmp_path):
    folder = ImageFolder(make_photos(tmp_path, count=5), image_size=(16, 16), batch_size=3, seed=1)
    test = TestSet(folder)
    model = Sequential([Input((16, 16, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    predictions = predict_all(model, test)
    assert predictions.names == [str(file) for file in folder.files]
    for k in (0, 7):
        image = load_image(folder.files[k], (16, 16)).astype(np.float32)
        np.testing.assert_array_equal(test.inputs([k])[0], image)
        p = model.predict(image[None], verbose=0)[0, 0]
        assert predictions.probabilities[k, 1] == pytest.approx(p, abs=1e-6)
        assert test.photo(k, image).shape == (32, 32, 3)  # the file's own size


def test_samples_of_arrays_are_found_across_batches():
    x, y = np.arange(40.0).reshape(10, 4).astype(np.float32), np.arange(10) % 2
    test = TestSet(ArrayDataset(x, y, batch_size=3))
    np.testing.assert_array_equal(test.inputs([7, 0, 3]), x[[7, 0, 3]])
    assert test.names(2) == ["sample 0", "sample 1"]
    assert test.class_names is None


def test_arrays_become_photos():
    test = TestSet((np.zeros((1, 2, 2, 1)), np.zeros(1)))
    gray = test.photo(0, np.full((2, 2, 1), 0.5))
    assert gray.shape == (2, 2, 3)
    assert (gray == 128).all()  # values of 0 to 1 are scaled
    assert (test.photo(0, np.array([[[-4.0, 99.6, 300]]])) == [0, 100, 255]).all()


def test_loss_and_regularization_are_those_of_evaluate():
    model = Sequential(
        [
            Input((4,)),
            layers.Dense(1, activation="sigmoid", kernel_regularizer="l2"),
        ]
    )
    model.compile("sgd", "binary_crossentropy")
    x, y = blobs(50)
    loss = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    predictions = predict_all(model, TestSet(ArrayDataset(x, y, batch_size=7)))
    assert predictions.loss == pytest.approx(loss, rel=1e-5)
    assert predictions.loss_name == "binary crossentropy"


def test_class_names_of_the_data_serve_a_model_without_names(tmp_path):
    folder = ImageFolder(make_photos(tmp_path), image_size=(16, 16))
    model = Sequential([Input((16, 16, 3)), layers.Flatten(), layers.Dense(1, "sigmoid")])
    assert predict_all(model, TestSet(folder)).class_names == ["cats", "dogs"]
    model.metadata["class_names"] = ["dogs", "cats"]
    with refused(DataError, "['dogs', 'cats']", "['cats', 'dogs']"):
        predict_all(model, TestSet(folder))


def test_unusable_data_are_refused():
    x, y = blobs(4)
    with refused(DataError, "read twice"):
        TestSet((x, y) for _ in range(1))
    with refused(DataError, "labels, received none"):
        predict_all(classifier(), TestSet(ArrayDataset(x)))


def test_labels_of_every_form():
    expected = [2, 0, 1]
    for y in ([2, 0, 1], [[2.0], [0.0], [1.0]], np.eye(3)[expected]):
        classes = as_classes(y, 3)
        assert classes.tolist() == expected
    for y in ([0.5, 1], np.zeros((2, 2, 2)), [3, 0], [-1, 0]):
        with refused((DataError, ShapeError), "report: expected"):
            as_classes(y, 3)
