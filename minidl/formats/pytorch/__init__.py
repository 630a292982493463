"""Reading of PyTorch's state dicts without PyTorch and without Python's unpickler."""
