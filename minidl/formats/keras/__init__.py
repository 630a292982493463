"""Readers of Keras weight and model files, versions 1 to 3."""
