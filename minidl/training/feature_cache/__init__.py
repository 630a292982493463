"""Cached features of a frozen base network."""
