"""Measured processes: one per engine, controlled by lines of JSON.

A worker keeps its prepared steps (weights loaded, kernels compiled, graphs traced) and waits for
its turn. During the turns of others it is stopped by a signal, so that no thread pool of an idle
engine spins on the processors.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["Missing", "Worker", "WorkerError"]

SCRIPT = Path(__file__).with_name("worker.py")
THREADS = ("MINIDL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(RuntimeError):
    """A worker could not answer a request."""


class Missing(WorkerError):
    """The engine is not installed in the worker's environment."""


class Worker:
    """A process with one engine.

    Parameters
    ----------
    python : str
        The interpreter of the environment with the engine.
    engine : {"minidl", "torch", "keras", "onnxruntime", "openvino"}
        The engine to start.
    threads : int
        Number of threads of the engine.

    Attributes
    ----------
    hello : dict
        "imported": memory in MiB after importing the engine; "versions".

    Raises
    ------
    Missing
        If the engine cannot be imported.
    """

    def __init__(self, python: str, engine: str, threads: int) -> None:
        self.engine = engine
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by close)
        environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        self.process = subprocess.Popen(
            [python, str(SCRIPT), engine, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )
        try:
            self.hello = self._answer()
        except BaseException:
            self.close()
            raise
        self.pause()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer; the worker is stopped before and after."""
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # the process has ended, which reading its answer reports
        answer = self._answer()
        self.pause()
        return answer

    def pause(self) -> None:
        """Stop the process until the next request."""
        self._signal("SIGSTOP")

    def close(self) -> None:
        """End the process."""
        self._signal("SIGCONT")
        self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise WorkerError(f"{self.engine}: ended without an answer\n{self._end_of_log()}")
        answer = json.loads(line)
        if "missing" in answer:
            raise Missing(f"{self.engine}: {answer['missing']}")
        if "error" in answer:
            raise WorkerError(f"{self.engine}: {answer['error']}")
        return answer

    def _end_of_log(self) -> str:
        self.log.seek(0)
        return "".join(self.log.readlines()[-15:])

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self.process.poll() is None:  # not on Windows
            self.process.send_signal(getattr(signal, name))
