"""Check the prose and names of the project for terms that the glossary replaces.

    python .ci/check_language.py

Prints each finding as ``file:line: found (use ...)`` and exits with 1 if there is any.
"""

import re
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".py", ".md", ".ipynb", ".yml", ".toml", ".css"}
# Files that must spell former names: the aliases of old modules, and fixtures of old versions.
EXCEPTIONS = {
    ".ci/check_language.py",
    "CHANGELOG.md",
    "minidl/common/former_names.py",
    "tests/common/test_former_names.py",
}

# Pattern, and what to write instead.
GLOSSARY = {
    r"as far as I can tell": "unknown (OOD score ...)",
    r"\bnovelty\b": "OOD score, out-of-distribution detection",
    r"\bTimetable\b": "ExecutionOrder",
    r"\bStretch(es)?\b": "StepGroup",
    r"\bstrands?\b": "shard",
    r"\bcan_link\b": "supports_pipeline",
    r"\b(takes?|taken|taking) along\b": "fuse, fused",
    r"\btakes_list\b": "accepts_list",
    r"\b(watchful|by looking)\b": "spinning, spin-wait",
    r"\bgive_back\b": "trim_heap",
    r"\bbell\b|\brung\b": "generation, wake-up",
    r"\b(is|are|was|were) to be had\b|\bcan be had\b": "available from",
    r"\bnobody has\b": "missing",
    r"\bwho (was|were) taken for\b": "confusion matrix",
    r"\bmakes? small\b": "loss functions",
    r"\bthousand million\b": "billion",
    r"\bas (it|they) (lies?|stands?)\b|\bwhere (it|they) (lies?|stands?)\b": "in place, position",
    r"\bOf the tensor that\b": "Index of the tensor",
    r"\bwhence\b|\bthe dice\b": "plain words",
    r"\bspeaks? for a class\b": "supports a class",
    r"\b(will|may) flatter\b": "is overestimated",
    r"\bas_far_as\b": "plain words",
    r"\btemperature_of\b": "fit_temperature",
    r"\bhas not\.?$": "is missing",
    # American spelling
    r"\b\w*colour\w*": "color",
    r"\b\w*behaviour\w*": "behavior",
    r"\b\w*neighbour\w*": "neighbor",
    r"\b\w*favour\w*": "favor",
    r"\b(normali|initiali|recogni|optimi|seriali|summari|minimi|maximi|visuali|organi|generali)s"
    r"(e|es|ed|er|ers|ing|ation|ations)\b": "-ize",
    r"\b(re)?cent(re|red|res)\b": "center",
    r"\blicences?\b": "license",
    r"\bgrey\b": "gray",
    r"\blearnt\b": "learned",
    r"\bartefacts?\b": "artifact",
    r"\bmodell(ed|ing)\b": "modeled",
    r"\blabell(ed|ing)\b": "labeled",
}
PATTERNS = [(re.compile(pattern, re.IGNORECASE), use) for pattern, use in GLOSSARY.items()]


def findings(path: Path) -> list[str]:
    """Return one line for each term of a file that the glossary replaces."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if len(line) > 1000 or "language: ok" in line:  # pictures in notebooks; quoted names
            continue
        for pattern, use in PATTERNS:
            if match := pattern.search(line):
                found.append(f"{path}:{number}: {match[0]!r} (use: {use})")
    return found


def main() -> int:
    """Check every file that git tracks."""
    names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    paths = [Path(name) for name in names.split() if Path(name).suffix in SUFFIXES]
    found = [
        line
        for path in paths
        if str(path) not in EXCEPTIONS and path.is_file() and not path.is_symlink()
        for line in findings(path)
    ]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
