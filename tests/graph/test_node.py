"""Nodes: numbers and consumers of tensors."""

from minidl import Input, Model, layers
from minidl.graph.node import count_consumers


def test_nodes_are_in_topological_order():
    x = Input((4,))
    y = layers.Dense(4)(x)
    model = Model(x, layers.Add()([y, x]))
    assert [node.inputs for node in model.nodes] == [(), (0,), (1, 0)]
    assert {node.shape for node in model.nodes} == {(None, 4)}


def test_outputs_and_repeated_reads_count():
    assert count_consumers([(), (0,), (1, 0), (2, 2)], 4, outputs=[3, 0]) == [3, 1, 2, 1]
