"""Model, Sequential and load_model."""
