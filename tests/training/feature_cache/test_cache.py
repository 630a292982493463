"""Cached features: the same training as without, the base computed once."""

import numpy as np
import pytest
from PIL import Image
from support.mpi import output_of_ranks
from support.tiny import assert_same_arrays

import minidl
from minidl import Input, Model, Sequential, callbacks, layers
from minidl.data import ArrayDataset, Dataset, ImageFolder
from minidl.training import clear_features
from minidl.training.feature_cache import cache as features
from minidl.training.feature_cache import store as feature_set

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6, 6, 2)).astype(np.float32)
Y = (X.mean(axis=(1, 2, 3)) > 0).astype(int)


class Counting(layers.Conv2D):
    """A convolution that counts the samples that it has seen."""

    capabilities = layers.Capabilities(ignores_training=True)

    def __init__(self, *arguments, **kwargs):
        super().__init__(*arguments, **kwargs)
        self.seen = 0

    def forward(self, x, training=False, rng=None):
        self.seen += len(x)
        return super().forward(x, training, rng)


def make_model(*before, dropout=0.0, seed=3):
    base = [Counting(4, 3, name="low"), layers.BatchNormalization(name="norm"), layers.ReLU()]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(dropout), layers.Dense(1, "sigmoid")]
    model = Sequential([Input((6, 6, 2)), *before, *base, *head])
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(-1, 1, w.shape) ** 2 + 0.1 for w in model.get_weights()])
    model.freeze(until="norm")
    model.seed = seed
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def known_layers(monkeypatch):
    """Take the layer that counts for one of minidl's: features of others stay in memory."""
    monkeypatch.setattr(features, "_custom_layers", lambda network: [])


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    features._sets.clear()
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def fit(model, x=X, y=Y, **arguments):
    arguments = {"epochs": 4, "verbose": 0, "validation_split": 0.2, **arguments}
    return model.fit(x, y, **arguments).history


def test_the_base_sees_each_sample_once():
    model = make_model()
    fit(model, epochs=5)
    assert model.get_layer("low").seen == 50  # 40 to train, 10 to validate
    fit(model, epochs=5)
    assert model.get_layer("low").seen == 50  # the second fit starts at once


def test_the_training_is_the_same_as_without():
    cached, plain = make_model(), make_model()
    with_cache = fit(cached)
    without = fit(plain, cache_features=False)
    assert plain.get_layer("low").seen > 200
    for name, values in without.items():
        np.testing.assert_allclose(with_cache[name], values, rtol=1e-4, err_msg=name)
    for a, b in zip(cached.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_the_number_of_threads_changes_neither_features_nor_training():
    def train(threads):
        minidl.set_num_threads(threads)
        features._sets.clear()
        model = make_model(dropout=0.5)
        history = fit(model)
        cached = [item.columns["feature 0"].tobytes() for item in features._sets.values()]
        return history, cached, model.get_weights()

    history, features_of, weights = train(1)
    for threads in (2, 3, 8):
        other_history, other_features, other_weights = train(threads)
        assert other_history == history
        assert other_features == features_of
        assert_same_arrays(weights, other_weights)


def test_ranks_share_the_computation_of_features():
    code = """
import sys, numpy as np, minidl
from minidl import Input, Sequential, distributed, layers
from support.distributed_training import hash_of

class Counting(layers.Conv2D):
    capabilities = layers.Capabilities(ignores_training=True)
    seen = 0

    def forward(self, x, training=False, rng=None):
        type(self).seen += len(x)
        return super().forward(x, training, rng)

rng = np.random.default_rng(0)
x = rng.normal(size=(48, 6, 6, 2)).astype("float32")
minidl.set_random_seed(0)
base = Counting(4, 3, trainable=False)
model = Sequential([Input((6, 6, 2)), base, layers.Flatten(), layers.Dense(1, "sigmoid")])
model.compile("adam", "binary_crossentropy")
model.fit(x, x.mean(axis=(1, 2, 3)) > 0, batch_size=8, epochs=2, shards=2, verbose=0)
sys.stdout.write(f"{Counting.seen} {hash_of(model.get_weights())}\\n")
"""
    (single,) = output_of_ranks(1, code)
    seen, weights = single.split()
    assert seen == "48"
    assert output_of_ranks(2, code) == [f"24 {weights}"] * 2


def test_changed_base_weights_or_data_are_never_served_from_the_cache():
    model = make_model()
    fit(model)
    seen = model.get_layer("low").seen
    model.get_layer("norm").set_weights([np.full(4, 2.0)] * 4)
    fit(model)
    assert model.get_layer("low").seen == 2 * seen
    fit(model, X + 1)
    assert model.get_layer("low").seen == 3 * seen


def test_layers_unfrozen_in_the_middle_of_an_epoch_learn_from_the_next_step_on():
    model = make_model()
    before = model.get_layer("low").get_weights()[0]

    class Unfreeze(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0 and len(seen) == 1:
                self.model.get_layer("low").trainable = True
            seen.append(self.model.get_layer("low").seen)

    seen = []
    data = ArrayDataset(X, Y, batch_size=10)
    model.fit(data, epochs=2, verbose=0, callbacks=[Unfreeze()])
    assert seen[0] == 50  # all features at once
    assert len(seen) == 10
    model.get_layer("low").trainable = True
    fit(model, epochs=1)
    assert not np.array_equal(model.get_layer("low").get_weights()[0], before)


def test_every_sample_of_the_epoch_is_used_when_layers_are_unfrozen_within_it():
    model = make_model()
    labels = []

    class Spy(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.get_layer("low").trainable = True

    trainer = model.trainer
    step = trainer.train_step

    def noting(x, y, *rest):
        labels.append(np.asarray(y))
        return step(x, y, *rest)

    trainer.train_step = noting
    model.fit(ArrayDataset(X, np.arange(50) / 50, batch_size=10, shuffle=True, seed=1),
              verbose=0, callbacks=[Spy()])  # fmt: skip
    assert sorted(np.concatenate(labels)) == list(np.arange(50) / 50)


def test_random_input_is_not_cached_unless_in_augmented_passes():
    model = make_model(layers.RandomFlip())
    fit(model, epochs=3)
    assert model.get_layer("low").seen == 3 * 40 + 3 * 10 + 10  # and the first look at validation
    with pytest.raises(ValueError, match="augmented_passes"):
        fit(model, cache_features=True)
    model = make_model(layers.RandomFlip())
    fit(model, epochs=6, augmented_passes=2)
    assert model.get_layer("low").seen == 2 * 40 + 10


def test_augmented_passes_differ_and_come_in_turn():
    model = make_model(layers.RandomFlip())
    cache = features.FeatureCache(model, passes=2)
    data = ArrayDataset(X, Y, batch_size=50)
    (a, _), (b, _), (c, _) = (next(cache.dataset(data, True).batches(e)) for e in range(3))
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, c)
    (plain, _) = next(cache.dataset(data, False).batches(0))
    np.testing.assert_array_equal(plain, model.tap("global_average_pooling2d").predict(X))


def test_many_features_go_to_a_file_that_the_next_process_finds(monkeypatch, home, known_layers):
    expected = fit(make_model(), shuffle=True)
    features._sets.clear()
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)
    model = make_model()
    history = fit(model, shuffle=True)
    assert len(list((home / "features").glob("*"))) == 2  # to train and to validate
    assert not list((home / "features").glob(".*"))
    for name, values in expected.items():
        np.testing.assert_array_equal(history[name], values)
    features._sets.clear()  # as in a new process
    again = make_model()
    fit(again, shuffle=True)
    assert again.get_layer("low").seen == 0


def test_a_damaged_feature_file_is_made_anew(monkeypatch, home, known_layers):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)
    fit(make_model())
    features._sets.clear()
    for path in (home / "features").glob("*/feature 0.npy"):
        path.write_bytes(path.read_bytes()[:-10])
    model = make_model()
    fit(model)
    assert model.get_layer("low").seen == 50


def test_an_interrupted_pass_leaves_no_file(monkeypatch, home, known_layers):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)

    class Broken(Counting):
        capabilities = layers.Capabilities(ignores_training=True)

        def forward(self, x, training=False, rng=None):
            if self.seen > 20:
                raise KeyboardInterrupt
            return super().forward(x, training, rng)

    stack = [Input((6, 6, 2)), Broken(4, 3, trainable=False), layers.Flatten(), layers.Dense(1)]
    model = Sequential(stack)
    model.compile("sgd", "mse")
    with pytest.raises(KeyboardInterrupt):
        features.FeatureCache(model).dataset(ArrayDataset(X, Y, batch_size=10))
    assert not list((home / "features").iterdir())


def test_features_labels_and_files_of_a_folder_stay_together(tmp_path):
    for k, name in enumerate(("dark", "light")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(6):
            level = 40 * k + 6 * i
            Image.new("RGB", (8, 8), (level, level, level)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "dark" / "2.png").write_text("no picture")
    x = Input((6, 6, 3))
    frozen = layers.Dense(1, kernel_initializer="ones", trainable=False)
    model = Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(frozen(x))))
    data = ImageFolder(tmp_path / "photos", image_size=6, batch_size=5, seed=1)
    with pytest.warns(UserWarning, match=r"2\.png"):
        cached = features.FeatureCache(model).dataset(data)
    assert len(cached.files) == 11
    level_of = {f: 40 * ("light" in f) + 6 * int(f[-5]) for f in cached.files}
    rows, labels = cached.features.rows(np.arange(11))
    np.testing.assert_allclose(rows[:, 0], [3 * level_of[f] for f in cached.files])
    assert labels.tolist() == [int("light" in f) for f in cached.files]
    shuffled = np.concatenate([y for _, y in cached.batches(1)])
    assert sorted(shuffled.tolist()) == sorted(labels.tolist())
    assert shuffled.tolist() != labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cache_features": "always"}, "'auto', True or False"),
        ({"cache_features": np.array([1, 2])}, "'auto', True or False"),
        ({"augmented_passes": 2}, "random layers"),
        ({"cache_features": False, "augmented_passes": 2}, "augmented_passes"),
        ({"augmented_passes": -1}, "augmented_passes"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        fit(make_model(), **arguments)


def test_what_cannot_be_cached_is_said_where_it_was_asked_for():
    model = make_model()
    with pytest.raises(ValueError, match="IterableDataset"):
        model.fit([(X, Y)], verbose=0, cache_features=True)
    model.unfreeze()
    with pytest.raises(ValueError, match="frozen"):
        fit(model, cache_features=True)


def test_two_inputs_two_outputs_and_weights():
    a, b = Input((3,), name="a"), Input((2,), name="b")
    low = layers.Dense(4, trainable=False)(a)
    y = layers.Dense(1, name="one")(layers.Concatenate()([low, b]))
    model = Model([a, b], [y, layers.Dense(2, name="two")(low)])
    model.compile("sgd", ["mse", "mse"])
    xs = [RNG.normal(size=(9, n)) for n in (3, 2)]
    ys = [np.ones((9, 1)), np.zeros((9, 2))]
    weights = np.arange(9.0)
    losses = []
    for cached in (True, False):
        model.set_weights([np.full(w.shape, 0.1) for w in model.get_weights()])
        history = model.fit(
            xs, ys, sample_weight=weights, epochs=3, verbose=0, shuffle=False,
            cache_features=cached,
        )  # fmt: skip
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_old_sets_are_let_go():
    model = make_model()
    for i in range(features.MAX_SETS + 3):
        fit(model, X + i, epochs=1, validation_split=0)
    assert len(features._sets) == features.MAX_SETS


def test_another_head_on_the_same_base_starts_at_once():
    fit(make_model())
    other = make_model(dropout=0.5)
    fit(other)
    assert other.get_layer("low").seen == 0


def test_a_set_that_changed_while_it_was_read_is_refused():
    with feature_set.FeatureWriter("k", 2, 2**20) as writer:
        writer.append(0, [np.zeros((3, 2))], np.arange(3), None)
        writer.append(1, [np.zeros((2, 2))], np.arange(2), None)
        with pytest.raises(ValueError, match="changed"):
            writer.finish()


def test_a_data_set_of_ones_own_is_read_by_its_own_rules():
    class Scaled(ArrayDataset):
        def batches(self, epoch=0):
            for x, y in super().batches(epoch):
                yield x / 255, y

    class Fixed(Scaled):
        def in_order(self):
            return self

        def fingerprint(self):
            return "fixed"

    model = make_model()
    model.fit(Scaled(X, Y), epochs=2, verbose=0)
    assert model.get_layer("low").seen == 100  # not cached: its order is not known
    model.fit(Fixed(X, Y, batch_size=50), epochs=3, verbose=0)
    assert model.get_layer("low").seen == 150
    cached = features.FeatureCache(model).dataset(Fixed(X, Y, batch_size=50))
    expected = model.tap("global_average_pooling2d").predict(X / 255)
    np.testing.assert_allclose(next(cached.batches(0))[0], expected, rtol=1e-6)


def test_data_without_a_fingerprint_are_never_mixed_up():
    class Nameless(ArrayDataset):
        def in_order(self):
            return self

        fingerprint = Dataset.fingerprint

    model = make_model()
    with pytest.raises(ValueError, match="Nameless"):
        model.fit(Nameless(X, Y), verbose=0, cache_features=True)


def test_a_layer_of_ones_own_that_was_written_anew_has_other_features():
    seen = []
    for factor in (1, 7):

        class Times(layers.Layer):
            capabilities = layers.Capabilities(ignores_training=True)
            power = factor

            def build(self, input_shape):
                self.add_weight("unused", (1,), "zeros")

            def forward(self, x, training=False, rng=None):
                return x * self.power, None

        model = Sequential([Input((2,)), Times(trainable=False, name="times"), layers.Dense(1)])
        data = ArrayDataset(np.ones((3, 2)), np.ones(3))
        seen.append(next(features.FeatureCache(model).dataset(data).batches(0))[0][0, 0])
    assert seen == [1, 7]


def test_weights_written_in_place_during_a_fit_are_seen():
    class Zero(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with self.model.get_layer("low").kernel.editing() as kernel:
                kernel[...] = 0

    model = make_model()
    fit(model, epochs=2, callbacks=[Zero()])
    assert model.get_layer("low").seen == 100  # the second epoch reads all anew


def test_features_can_be_forgotten(monkeypatch, home, known_layers):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)
    fit(make_model())
    assert list((home / "features").glob("*"))
    clear_features()
    assert not list((home / "features").glob("*"))
    model = make_model()
    fit(model)
    assert model.get_layer("low").seen == 50


def test_only_the_newest_files_stay(monkeypatch, home, known_layers):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)
    monkeypatch.setattr(feature_set, "MAX_STORED", 3)
    for i in range(5):
        fit(make_model(), X + i, validation_split=0, epochs=1)
    assert len(list((home / "features").glob("*"))) == 3


def test_a_cache_folder_that_cannot_be_written_is_named(monkeypatch, tmp_path, known_layers):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 100)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIDL_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match="MINIDL_HOME"):
        fit(make_model())
