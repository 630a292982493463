"""Batches that are shared among ranks: the results and their order are those of one process."""

from support.mpi import output_of_ranks

from minidl.training.shared_inference import shared_outputs


def test_one_process_computes_all_batches_lazily():
    computed = []
    source = shared_outputs(iter([1, 2, 3]), lambda batch: computed.append(batch) or 10 * batch)
    assert next(source) == (1, 10)
    assert computed == [1]
    assert list(source) == [(2, 20), (3, 30)]


def test_each_batch_is_computed_once_and_all_ranks_see_the_same():
    code = """
import sys
from minidl import distributed
from minidl.training.shared_inference import shared_outputs
mine = []
def compute(batch):
    mine.append(batch)
    return batch * 10
results = list(shared_outputs(range(7), compute))
sys.stdout.write(f"{distributed.rank()} {mine} {results}\\n")
"""
    results = [(i, 10 * i) for i in range(7)]
    expected = [f"{rank} {list(range(rank, 7, 3))} {results}" for rank in range(3)]
    assert output_of_ranks(3, code) == expected


def test_several_inputs_and_outputs_are_the_same_on_all_ranks():
    code = """
import sys, numpy as np, minidl
from minidl import distributed
from support.distributed_training import hash_of
from support.tiny import two_by_two
minidl.set_random_seed(0)
model = two_by_two()
model.compile("sgd", ["binary_crossentropy", "sparse_categorical_crossentropy"])
rng = np.random.default_rng(0)
x = [rng.normal(size=(11, 4)), rng.normal(size=(11, 2))]
y = [np.arange(11) % 2, np.arange(11) % 3]
found = model.evaluate(x, y, batch_size=3), hash_of(model.predict(x, batch_size=2))
sys.stdout.write(f"{found}\\n")
"""
    single = output_of_ranks(1, code)
    for size in (2, 4):
        assert set(output_of_ranks(size, code)) == set(single)
