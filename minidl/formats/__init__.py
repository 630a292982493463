"""Readers and writers of model and weight files."""
