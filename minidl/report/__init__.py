"""HTML reports on classifiers: metrics, plots, mistakes and data in one file.

    from minidl import report
    report.write("report.html", model, test, history=history, train_data=train)

The metrics (``statistics.py``) are computed by NumPy, the plots (``plots.py``) are SVG by
matplotlib, and the page (``page.py``, ``page.css``) loads no other file. ``show_batch`` plots the
first photos of a data set.

>>> from minidl import report
>>> callable(report.write), callable(report.show_batch)
(True, True)
"""

from minidl.report.write import show_batch, write

__all__ = ["show_batch", "write"]
