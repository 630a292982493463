"""The training executor and the frozen segments of a graph."""
