"""CSVLogger: writes the logs of each epoch to a file.

>>> from minidl.callbacks import CSVLogger
>>> log = CSVLogger("training.csv")
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from minidl.callbacks.callback import Callback, Logs, numbers_in
from minidl.common.atomic_files import write_file

__all__ = ["CSVLogger"]


class CSVLogger(Callback):
    """Write the numbers of each epoch as a line of a CSV file.

    Parameters
    ----------
    filename : str or Path
    separator : str
        Separator of the columns.
    append : bool
        Append to an existing file; a resumed training always does.

    Examples
    --------
    >>> from minidl.callbacks import CSVLogger
    >>> log = CSVLogger("training.csv", append=True)
    """

    writes_files = True

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        super().__init__()
        self.path, self.separator, self.append = Path(filename), separator, append
        self.columns: list[str] | None = None
        self.text = ""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        appends = self.append or self.params.get("resume")
        if appends and self.path.exists() and self.path.stat().st_size > 0:
            self.text = self.path.read_text(encoding="utf-8")
            self.columns = next(csv.reader(io.StringIO(self.text), delimiter=self.separator))
        else:
            self.columns, self.text = None, ""
            write_file(self.path, self.text)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        row = {"epoch": epoch, **numbers_in(logs)}
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=self.separator, lineterminator="\n")
        if self.columns is None:
            self.columns = list(row)
            writer.writerow(self.columns)
        writer.writerow([row.get(column, "") for column in self.columns])
        self.text += lines.getvalue()
        write_file(self.path, self.text)
