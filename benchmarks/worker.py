"""A measured process: requests on standard input, answers on standard output.

Started by workers.py as ``python worker.py ENGINE THREADS``. Requests, one line of JSON each:

    {"prepare": job, "key": k}   create step k and run it untimed -> "sample", "long", "peak"
    {"run": k, "calls": n}       one untimed call, then n timed ones -> "seconds", "peak" (since
                                 preparing)
    {"forget": true}             delete all steps

An engine's module ``with_ENGINE`` has ``start(threads)``, ``versions()`` and ``prepare(job)``,
which returns the step: a function that computes once and returns numbers. For a long step,
``prepare`` returns a pair: the step, and a short one of the same kind for the warm-up.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from types import ModuleType
from typing import Any

WARM_UP = 2  # untimed calls after preparing; the first one compiles or traces
SAMPLE = 1000  # numbers per output that are sent for comparison


def main() -> None:
    """Answer requests until the input ends."""
    engine, threads = sys.argv[1], int(sys.argv[2])
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to the log

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    try:
        module = importlib.import_module(f"with_{engine}")
        module.start(threads)
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(imported=_peak(), versions=module.versions())
    steps: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer(**_respond(module, steps, json.loads(line)))
        except Exception:
            answer(error=traceback.format_exc(limit=-4))


def _respond(module: ModuleType, steps: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    if "forget" in request:
        steps.clear()
        return {}
    if "prepare" in request:
        prepared = module.prepare(request["prepare"])
        step, warm = prepared if isinstance(prepared, tuple) else (prepared, prepared)
        steps[request["key"]] = step, warm
        outputs = [warm() for _ in range(request.get("warm_up", WARM_UP))]
        answer = {"sample": _sample(outputs), "long": step is not warm, "peak": _peak()}
        _reset_peak()
        return answer
    step, warm = steps[request["run"]]
    if request.get("short"):
        step = warm
    if step is warm and request.get("warm", True):
        step()  # fills the caches, which other processes have used
    seconds = []
    for _ in range(request["calls"]):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak": _peak()}


def _sample(outputs: list[Any]) -> list[float]:
    """Return the losses of all steps, or evenly spaced numbers of the last output."""
    import numpy as np

    if not outputs or isinstance(outputs[0], tuple):
        return []
    if np.ndim(outputs[0]) == 0:
        return [float(loss) for loss in outputs]
    flat = np.ravel(outputs[-1])
    return flat[:: max(1, flat.size // SAMPLE)].astype(float).tolist()


def _die_with_parent() -> None:
    """Let Linux end this process with its parent, which a stopped process would not notice."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _peak() -> float:
    """Return the peak memory of this process since its start or the last reset, in MiB."""
    # The peak includes the memory of the small parent process at the fork, which is never more.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _reset_peak() -> None:
    """Reset the peak to the current memory (on Linux only)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
