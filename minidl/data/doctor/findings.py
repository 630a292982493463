"""What the dataset doctor found, to read, to print and to act upon.

>>> from minidl.data.doctor.findings import CheckReport, Finding
>>> text = "a.jpg and b.jpg show the same photo: resized copy"
>>> finding = Finding("leak", "error", text, ("a.jpg", "b.jpg"))
>>> print(CheckReport("photos", classes={"cats": 3, "dogs": 3}, findings=[finding]))
photos: 6 photos (cats 3, dogs 3)
<BLANKLINE>
error    leak  a.jpg and b.jpg show the same photo: resized copy
<BLANKLINE>
1 error, 0 warnings, 0 notes: what is found spoils results
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SEVERITIES", "CheckReport", "Finding", "Group"]

SEVERITIES = ("error", "warning", "note")
SHOWN = 30  # findings of one kind that are printed


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor noticed.

    Attributes
    ----------
    kind : str
        Such as "leak", "near-duplicate", "truncated".
    severity : {"error", "warning", "note"}
        An error spoils results; a warning should be looked at; a note is good to know.
    message : str
        One sentence that names the files.
    files : tuple of str
        All files that are concerned, with their folders.
    """

    kind: str
    severity: str
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Files that show the same photo.

    `pairs` are (file, file, relation) such as "resized copy"; they connect all files of the group.
    """

    files: tuple[str, ...]
    pairs: tuple[tuple[str, str, str], ...]


@dataclass
class CheckReport:
    """What :func:`minidl.data.check` returns; ``str(report)`` is a table for the terminal.

    Attributes
    ----------
    directory, test : str
        The folders; `test` is None where there was none.
    classes, test_classes : dict of str to int
        How many readable photos each class has.
    findings : list of Finding
        The errors first.
    groups : list of Group
        The files that show the same photo, in all sets together.
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
        """Return the files without which no error and no duplicate is left; deletes nothing.

        Of a leak the training copies, of other duplicates all but the largest, of contradicting
        labels all copies, and what is damaged, cut off, empty or no image.
        """
        return list(self.drop)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what ``json.dumps`` takes."""
        return {
            "directory": self.directory,
            "test": self.test,
            "classes": self.classes,
            "test_classes": self.test_classes,
            "spoils_results": self.spoils_results,
            "findings": [
                {**dataclasses.asdict(finding), "files": list(finding.files)}
                for finding in self.findings
            ],
            "groups": [
                {
                    "files": list(group.files),
                    "pairs": [
                        {"files": [first, second], "relation": relation}
                        for first, second, relation in group.pairs
                    ],
                }
                for group in self.groups
            ],
            "files_to_drop": self.files_to_drop(),
        }

    def __str__(self) -> str:
        lines = [_counts(self.directory, self.classes)]
        if self.test is not None:
            lines.append(_counts(self.test, self.test_classes))
        lines += ["", *_table(self.findings), ""] if self.findings else [""]
        return "\n".join([*lines, _verdict(self.findings)])


def _counts(directory: str, classes: dict[str, int]) -> str:
    each = ", ".join(f"{name} {count:,}" for name, count in classes.items())
    return f"{directory}: {sum(classes.values()):,} photos ({each})"


def _table(findings: list[Finding]) -> list[str]:
    """Return aligned lines, not too many of one kind."""
    width = max(len(finding.kind) for finding in findings)
    totals, seen, lines = Counter((f.severity, f.kind) for f in findings), Counter(), []
    for finding in findings:
        key = finding.severity, finding.kind
        seen[key] += 1
        row = f"{finding.severity:7}  {finding.kind:{width}}  "
        if seen[key] <= SHOWN:
            lines.append(row + finding.message)
        elif seen[key] == totals[key]:
            lines.append(f"{row}... and {totals[key] - SHOWN:,} more")
    return lines


def _verdict(findings: list[Finding]) -> str:
    if not findings:
        return "nothing found"
    counts = Counter(finding.severity for finding in findings)
    text = ", ".join(
        f"{counts[severity]:,} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in SEVERITIES
    )
    return text + (": what is found spoils results" if counts["error"] else "")
