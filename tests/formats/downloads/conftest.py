"""Fixtures of the download tests: an empty cache folder and local servers."""

from support.download_server import home, serve

__all__ = ["home", "serve"]
