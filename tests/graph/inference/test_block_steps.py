"""Block steps: which convolutions are merged, and that their outputs stay the same bits."""

import numpy as np
import pytest
from support.inference import randomize

from minidl import Input, Model, layers
from minidl.graph.inference import block_steps
from minidl.graph.inference.block_steps import BlockStep, merge_blocks
from minidl.graph.inference.fusion import fuse
from minidl.kernels.runtime import thread_pool

RNG = np.random.default_rng(0)


def bottleneck(size=14, channels=8, activation="relu6", residual=True, stride=1):
    """Return a model with an inverted bottleneck after a convolution."""
    x = Input((size, size, 3))
    y = start = layers.Conv2D(channels, 3, padding="same")(x)
    y = layers.Conv2D(6 * channels, 1, activation=activation)(y)
    y = layers.DepthwiseConv2D(3, stride, "same", activation=activation)(y)
    y = layers.BatchNormalization()(layers.Conv2D(channels, 1, use_bias=False)(y))
    y = layers.Add()([start, y]) if residual else y
    return randomize(Model(x, layers.Conv2D(4, 1)(y)))


def outputs(model, x, monkeypatch, large):
    """Return the output if tensors of `large` bytes count as large, and the plan's steps."""
    monkeypatch.setattr(block_steps, "LARGE", large)
    model._plan._reset()
    y = model.infer(x)
    return y, model._plan.prepare([x.shape]).graph.steps


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("residual", "stride"), [(True, 1), (False, 1), (False, 2)])
def test_a_bottleneck_becomes_one_step_of_the_same_bits(monkeypatch, threads, residual, stride):
    thread_pool.set_num_threads(threads)
    model = bottleneck(residual=residual, stride=stride)
    x = RNG.normal(size=(3, 14, 14, 3)).astype(np.float32)
    model.infer(x)
    apart, steps = outputs(model, x, monkeypatch, np.inf)
    assert [type(step).__name__ for step in steps].count("BlockStep") == 0
    merged, fewer = outputs(model, x, monkeypatch, 0)
    assert len(fewer) == len(steps) - 2
    assert [type(step).__name__ for step in fewer].count("BlockStep") == 1
    np.testing.assert_array_equal(merged, apart)


def test_a_block_runs_alone_where_threads_may_not_spin(monkeypatch):
    model, x = bottleneck(), RNG.normal(size=(2, 14, 14, 3)).astype(np.float32)
    model.infer(x)
    together, _ = outputs(model, x, monkeypatch, 0)
    monkeypatch.setattr(thread_pool, "may_spin", lambda: False)
    alone, steps = outputs(model, x, monkeypatch, 0)
    assert any(type(step) is BlockStep for step in steps)
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_other_activations_are_not_merged(activation):
    model = bottleneck(activation=activation)
    graph = fuse(model.nodes, [len(model.nodes) - 1])
    merged = merge_blocks(graph, {0: (64, 224, 224, 3)})
    assert all(type(step) is not BlockStep for step in merged.steps)


def test_small_tensors_and_those_with_other_readers_stay():
    model = bottleneck()
    graph = fuse(model.nodes, [len(model.nodes) - 1])
    assert merge_blocks(graph, {0: (1, 14, 14, 3)}).steps == graph.steps
    large = {0: (64, 224, 224, 3)}
    assert len(merge_blocks(graph, large).steps) == len(graph.steps) - 2
    expanded = next(i for i, node in enumerate(model.nodes) if node.shape[-1] == 48)
    graph = fuse(model.nodes, [expanded, len(model.nodes) - 1])
    (block,) = (s for s in merge_blocks(graph, large).steps if type(s) is BlockStep)
    assert block.expand is None
    assert block.project is not None


def test_the_residual_is_not_overwritten_while_rows_of_it_are_read(monkeypatch):
    model, x = bottleneck(), RNG.normal(size=(1, 14, 14, 3)).astype(np.float32)
    model.infer(x)
    _, steps = outputs(model, x, monkeypatch, 0)
    (block,) = (step for step in steps if type(step) is BlockStep)
    assert block.inputs[0] == block.inputs[1]
    assert block.overwritable_input is None
    tensors = model._plan.prepare([x.shape]).memory.tensors
    assert tensors[block.number].storage is not tensors[block.inputs[0]].storage
