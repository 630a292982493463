"""Common parts of the benchmarks: options, turns in separate processes, comparison, report.

A script creates a :class:`Session`, which compares one case after the other:

    with bench.Session(bench.parse(bench.arguments(__doc__)), "networks") as session:
        folder = session.network({"network": "VGG16", "size": 224})
        session.compare("VGG16", "inference", {"folder": folder, "batch": 8}, items=8)

Each engine runs in its own process. If it can compute in several ways, each is tried and the
fastest is used. Then minidl and the peers take turns, round after round.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from comparison import NAMES, Contestant, describe_case, format_case
from report import describe_machine, format_machine, minidl_facts, write_json
from workers import Missing, Worker, WorkerError

__all__ = ["PEERS", "Session", "arguments", "parse", "positive", "run_script"]

HERE = Path(__file__).parent
PEERS = [name for name in NAMES if name != "minidl"]
# The variants of each kind of work that an engine can run; see its module with_*.py.
VARIANTS = {
    "inference": {
        "minidl": ["predict_on_batch"],
        "torch": ["channels_last", "contiguous", "channels_last, compiled"],
        "keras": ["predict_on_batch", "predict_on_batch without XLA", "tf.function"],
        "onnxruntime": ["all optimizations"],
        "openvino": ["float32"],
    },
    "training": {
        "minidl": ["train_on_batch"],
        "torch": ["channels_last", "contiguous"],
        "keras": ["train_on_batch", "train_on_batch without XLA"],
    },
    "features": {
        "minidl": ["predict(ImageFolder)"],
        "torch": ["channels_last", "channels_last, reading ahead"],
        "keras": ["predict(dataset)", "predict(dataset) without XLA"],
        "onnxruntime": ["all optimizations", "all optimizations, reading ahead"],
    },
    "transfer": {
        "minidl": ["fit(ImageFolder)"],
        "keras": ["fit(dataset)", "fit(dataset) without XLA"],
    },
}
TRIAL_CALLS = 3
BUSY = 0.5  # load average of one minute


def arguments(text: str, rounds: int = 7) -> argparse.ArgumentParser:
    """Return a parser with the common options of all benchmarks; `text` is the description."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--peers",
        type=_peers,
        default=PEERS,
        metavar="A,B",
        help=f"of {','.join(PEERS)}, or none; peers that are not installed are skipped "
        "(default: all)",
    )
    add(
        "--peer-python",
        default=sys.executable,
        metavar="PATH",
        help="interpreter of the environment with the peers (default: this one)",
    )
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="threads per engine (default: the processors of this process)",
    )
    add("--rounds", type=positive, default=rounds, metavar="N", help="default: %(default)s")
    add("--json", metavar="FILE", help="write all results to this file")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--smoke", action="store_true", help="tiny sizes and one round, as a test")
    return parser


def parse(parser: argparse.ArgumentParser, command: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed options."""
    options = parser.parse_args(command)
    if options.smoke:
        options.rounds = 1
    return options


def positive(text: str) -> int:
    """Return a command-line argument as an integer >= 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, received {text!r}")
    return int(text)


def _peers(text: str) -> list[str]:
    names = [name for name in text.split(",") if name not in ("", "none")]
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"expected peers of {PEERS}, received {name!r}")
    return names


class Session:
    """One run of a benchmark.

    Parameters
    ----------
    options : argparse.Namespace
        From :func:`parse`.
    name : str
        Name of the benchmark.
    """

    def __init__(self, options: argparse.Namespace, name: str) -> None:
        self.options, self.name = options, name
        facts = minidl_facts()
        self.threads = options.threads or facts["threads"]
        versions = {key: facts[key] for key in ("minidl", "python", "numpy", "numba", "blas")}
        self.machine = describe_machine(versions, self.threads)
        self.cases: list[dict[str, Any]] = []
        self.notes: list[str] = []
        if (self.machine["load"] or 0) > BUSY:
            self.note(
                f"The machine was busy at the start (load {self.machine['load']}), which slows "
                "down engines with synchronized threads most. Do not trust these figures."
            )
        self._temporary = tempfile.TemporaryDirectory(prefix="minidl-bench-")
        self._folders: dict[str, str] = {}

    def __enter__(self) -> Session:
        signal.signal(
            signal.SIGTERM, lambda *_: sys.exit(143)
        )  # so that temporary files are removed
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._temporary.cleanup()
        if kind in (None, KeyboardInterrupt):
            self.finish()

    def folder(self, name: str) -> Path:
        """Return a new folder that exists as long as the session."""
        folder = Path(self._temporary.name, name)
        folder.mkdir()
        return folder

    def network(self, specification: dict[str, Any]) -> str:
        """Return the folder with description and weights of a network (see workload.py)."""
        key = json.dumps(specification)
        if key not in self._folders:
            self.progress(f"describing {specification['network']}")
            folder = self.folder(f"network{len(self._folders)}")
            run_script("workload.py", folder, key)
            self._folders[key] = str(folder)
        return self._folders[key]

    def worker(self, engine: str) -> Worker | None:
        """Start a process with an engine; return None, with a note, if it is not installed."""
        python = sys.executable if engine == "minidl" else self.options.peer_python
        try:
            worker = Worker(python, engine, self.threads)
        except Missing as error:
            if engine == "minidl":
                raise SystemExit(str(error)) from None
            self.note(f"{NAMES[engine]} is not installed: {error}")
            return None
        self.machine["versions"].update(worker.hello["versions"])
        return worker

    def compare(
        self,
        title: str,
        work: str,
        job: dict[str, Any],
        items: int,
        rounds: int | None = None,
        **facts: Any,
    ) -> None:
        """Measure minidl and the peers with one kind of work, and print the comparison.

        Parameters
        ----------
        title : str
            Title of the table.
        work : str
            A key of VARIANTS.
        job : dict
            Arguments of the engines' ``prepare``.
        items : int
            Number of images per call; times are given per image.
        rounds : int, optional
            Number of rounds; by default that of the options.
        **facts
            Stored with the results. ``exact=False`` means that the outputs may differ.
        """
        contestants: list[Contestant] = []
        rounds = rounds or self.options.rounds
        try:
            for engine in ["minidl", *self.options.peers]:
                contestants += self._enter(engine, work, job, items)
            for number in range(rounds):
                self.progress(f"{title}: round {number + 1} of {rounds}")
                for contestant in contestants[:: -1 if number % 2 else 1]:
                    self._take_turn(contestant, contestants)
            case = describe_case(title, work, contestants, facts)
        finally:
            for contestant in contestants:
                contestant.worker.close()
        self.cases.append(case)
        self.write()
        self.show(*format_case(case, self.options.markdown))

    def note(self, text: str) -> None:
        """Add a note to the report, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.progress(text)

    def show(self, *parts: str) -> None:
        """Print a part of the report."""
        self.progress("")
        print(*parts, "", sep="\n", flush=True)

    def finish(self) -> None:
        """Print the machine and the notes, and write the JSON file."""
        self.write()
        self.show(format_machine(self.machine), *self.notes)

    def write(self) -> None:
        """Write the results so far to the JSON file, if the options name one."""
        if self.options.json:
            write_json(
                self.options.json,
                {
                    "benchmark": self.name,
                    "machine": self.machine,
                    "notes": self.notes,
                    "rounds": self.options.rounds,
                    "cases": self.cases,
                },
            )

    def _enter(self, engine: str, work: str, job: dict[str, Any], items: int) -> list[Contestant]:
        """Return the engine's fastest variant in its own process, or [] if there is none."""
        variants = VARIANTS[work].get(engine, [])
        if self.options.smoke:
            variants = variants[:1]
        tried: list[Contestant] = []
        for variant in variants:
            self.progress(f"preparing {NAMES[engine]}, {variant}")
            try:
                if engine in ("onnxruntime", "openvino"):
                    self._make_onnx_file(job["folder"])
                worker = self.worker(engine)
                if worker is None:
                    return []
                contestant = Contestant(worker, {"work": work, "variant": variant, **job}, items)
                tried.append(contestant)
                contestant.try_out(1 if len(variants) == 1 else TRIAL_CALLS)
            except WorkerError as error:
                if engine == "minidl":
                    raise SystemExit(str(error)) from None
                self.note(f"{NAMES[engine]}, {variant} failed: {str(error).strip()}")
                if tried and tried[-1].trial is None:
                    tried.pop().worker.close()
        best = min(tried, key=lambda contestant: contestant.trial, default=None)
        for contestant in tried:
            if contestant is not best:
                contestant.worker.close()
        if best is not None:
            best.trials = {each.job["variant"]: each.trial for each in tried}
        return [best] if best else []

    def _take_turn(self, contestant: Contestant, contestants: list[Contestant]) -> None:
        """Run one turn of a contestant; remove a peer that fails."""
        try:
            contestant.take_turn()
        except WorkerError as error:
            if contestant is contestants[0]:
                raise SystemExit(str(error)) from None
            self.note(f"{NAMES[contestant.worker.engine]} failed: {str(error).strip()}")
            contestants.remove(contestant)
            contestant.worker.close()

    def _make_onnx_file(self, folder: str) -> None:
        if not Path(folder, "model.onnx").exists():
            try:
                run_script("onnx_file.py", folder, python=self.options.peer_python)
            except SystemExit as error:
                raise WorkerError(str(error)) from None

    def progress(self, text: str) -> None:
        """Show the current step on a terminal."""
        if sys.stderr.isatty():
            print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)


def run_script(script: str, *arguments: Any, python: str = sys.executable) -> str:
    """Run a script of this folder in its own process and return its output.

    This process stays small, because its memory counts in the peak of the workers that it starts.
    """
    command = [python, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr}")
    return done.stdout
