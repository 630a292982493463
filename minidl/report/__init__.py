"""Reports for people: one HTML file that tells what a classifier can do and where it fails.

    from minidl import report
    report.write("report.html", model, test, history=history, train_data=train)

The figures (``figures.py``) are plain NumPy, the plots (``plots.py``) matplotlib's SVG, the page
(``page.py``, ``page.css``) one file that loads nothing. ``show_batch`` draws what is in a data set.

>>> from minidl import report
>>> callable(report.write), callable(report.show_batch)
(True, True)
"""

from minidl.report.write import show_batch, write

__all__ = ["show_batch", "write"]
