"""The inference plan: fusion, steps, step groups and the memory plan."""
