"""A warm process that forks one child per command, so that starting `globa-tui` costs milliseconds instead of seconds.

    python -m tests.trust.zygote MODULE…

imports the modules, then reads one JSON request per line from stdin and answers on stdout. Each child is a process of
its own, with its own session, environment, standard streams or terminal, and ends as a program ends.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

from tests.trust import faults


def start(request: dict[str, Any]) -> int | None:
    """Fork; the pid in the parent, None in the child, which is then ready to be the command."""
    ready, tell = os.pipe()
    pid = os.fork()
    os.close(tell if pid else ready)
    if pid:
        os.read(ready, 1)
        os.close(ready)
        return pid
    request["tell"] = tell
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    streams = [(os.devnull, os.O_RDONLY), (request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)]
    streams.append((request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    if request.get("terminal"):
        streams = [(request["terminal"], os.O_RDWR)] * 3
    for number, (path, flags) in enumerate(streams):
        descriptor = os.open(path, flags, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, (stream, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        setattr(sys, stream, open(number, mode, closefd=False))  # noqa: PTH123, SIM115
        setattr(sys, f"__{stream}__", getattr(sys, stream))
    if request.get("ignored"):
        signal.signal(getattr(signal, request["ignored"]), signal.SIG_IGN)
    for name, limit in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    return None


def wait(pid: int, seconds: float) -> int | None:
    """The code a child left with, negative for a signal; None when it still runs after so long.

    Time in which this process, and so probably that one, was stopped or starved is not counted.
    """
    last = time.monotonic()
    while seconds > 0:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
        now = time.monotonic()
        seconds, last = seconds - min(now - last, 0.1), now
    return None


def be_command(request: dict[str, Any]) -> int:
    plan = faults.install()
    os.close(request["tell"])
    try:
        if request.get("runner"):
            from globa_tui.jobs.runner import main

            return main(request["words"])
        from globa_tui.cli import run

        return run(request["words"])
    finally:
        faults.report(plan)


def end(code: int) -> NoReturn:
    """Leave as Python does, except that modules are not taken apart, which takes most of a second with torch."""
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def serve() -> int:
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0), "r")
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()
    while line := requests.readline():
        request = json.loads(line)
        if "wait" in request:
            print(json.dumps(wait(request["wait"], request["seconds"])), file=answers, flush=True)
            continue
        pid = start(request)
        if pid is None:
            try:
                code = be_command(request)
            except KeyboardInterrupt:  # before the program began
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
                raise
            except BaseException:
                traceback.print_exc()
                code = 99
            end(code)
        print(json.dumps(pid), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(serve())
