"""The report of the dataset doctor: findings, groups of duplicates, files to drop.

>>> from minidl.data.doctor.findings import CheckReport, Finding
>>> text = "a.jpg and b.jpg show the same photo: resized copy"
>>> finding = Finding("leak", "error", text, ("a.jpg", "b.jpg"))
>>> print(CheckReport("photos", classes={"cats": 3, "dogs": 3}, findings=[finding]))
photos: 6 photos (cats 3, dogs 3)
<BLANKLINE>
error  leak  a.jpg and b.jpg show the same photo: resized copy
<BLANKLINE>
1 error, 0 warnings, 0 notes: fix the errors before training
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from minidl.common.text_table import format_table

__all__ = ["SEVERITIES", "CheckReport", "Finding", "Group"]

SEVERITIES = ("error", "warning", "note")
MAX_ROWS = 30  # findings of one kind that are printed


@dataclass(frozen=True)
class Finding:
    """One problem that the doctor found.

    Attributes
    ----------
    kind : str
        Such as "leak", "near-duplicate" or "truncated".
    severity : {"error", "warning", "note"}
        An error makes results wrong, a warning deserves a look, a note is information.
    message : str
        One sentence that names the files.
    files : tuple of str
        Paths of all affected files.
    """

    kind: str
    severity: str
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Files that show the same photo.

    Attributes
    ----------
    files : tuple of str
        Paths of all copies.
    pairs : tuple of (file, file, relation)
        How copies are related, such as "resized copy". The pairs connect all files of the group.
    """

    files: tuple[str, ...]
    pairs: tuple[tuple[str, str, str], ...]


@dataclass
class CheckReport:
    """Result of :func:`minidl.data.check`; ``str(report)`` is a table for the terminal.

    Attributes
    ----------
    directory, test : str
        The checked folders. `test` is None if there was no test folder.
    classes, test_classes : dict of str to int
        Number of readable photos per class.
    findings : list of Finding
        Errors first, then warnings, then notes.
    groups : list of Group
        Duplicates within and between both folders.
    """

    directory: str
    test: str | None = None
    classes: dict[str, int] = field(default_factory=dict)
    test_classes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    drop: list[str] = field(default_factory=list, repr=False)

    @property
    def spoils_results(self) -> bool:
        """Whether any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def files_to_drop(self) -> list[str]:
        """Return the files to delete so that no error from files and no duplicate remains.

        For leaks: the training copies. For other duplicates: all but the largest. For
        contradicting labels: all copies. Damaged, truncated and empty files, and files that are
        not images, are included. Nothing is deleted.
        """
        return list(self.drop)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that ``json.dumps`` accepts."""
        answer = dataclasses.asdict(self)
        answer["spoils_results"] = self.spoils_results
        answer["files_to_drop"] = answer.pop("drop")
        for group in answer["groups"]:
            group["pairs"] = [
                {"files": files, "relation": relation} for *files, relation in group["pairs"]
            ]
        return answer

    def __str__(self) -> str:
        lines = [_count_line(self.directory, self.classes)]
        if self.test is not None:
            lines.append(_count_line(self.test, self.test_classes))
        lines.append("")
        if not self.findings:
            return "\n".join([*lines, "nothing found"])
        counts = Counter(finding.severity for finding in self.findings)
        totals = ", ".join(f"{counts[s]:,} {s}{'s' * (counts[s] != 1)}" for s in SEVERITIES)
        verdict = ": fix the errors before training" if self.spoils_results else ""
        return "\n".join([*lines, *_table(self.findings), "", totals + verdict])


def _count_line(directory: str, classes: dict[str, int]) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in classes.items())
    return f"{directory}: {sum(classes.values()):,} photos ({counts})"


def _table(findings: list[Finding]) -> list[str]:
    """Return aligned lines, at most MAX_ROWS of one kind."""
    rows: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        rows.setdefault((finding.severity, finding.kind), []).append(finding.message)
    for key, messages in rows.items():
        if len(messages) > MAX_ROWS:
            rows[key] = [*messages[:MAX_ROWS], f"... and {len(messages) - MAX_ROWS:,} more"]
    return format_table([(*key, message) for key, messages in rows.items() for message in messages])
