"""Networks that are ready to use."""

from minidl.applications.small_cnn import augmentation, small_cnn

__all__ = ["augmentation", "small_cnn"]
