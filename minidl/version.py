"""The version of minidl, without any import.

>>> from minidl.version import __version__
>>> __version__.count(".")
2
"""

__version__ = "0.2.0"
