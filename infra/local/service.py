"""One server process: started, polled until it answers, stopped or killed, and found again by a later command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sim4seg.atomic import write_json
from sim4seg.errors import Sim4SegError

POLL_SECONDS = 0.2
LOG_TAIL = 2000
"""Characters of a log that an error shows."""


class StackError(Sim4SegError):
    """A server of the local stack cannot be had; the message names its log."""


@dataclass
class Service:
    """A server process of the stack.

    Args:
        name: names the log and the process record too.
        command: program and arguments; secrets never go here, where every user of the machine can read them.
        folder: the stack's folder; the log goes to ``logs/``, the record of the process to ``run/``.
        environment: the whole environment of the process.
        probe: one real request; raises while the server does not answer as it should.
        directory: working directory of the process; None = the stack's folder.
        user: user to run it as, for programs that refuse root; None = the present one.
        stop_signal: what asks it to end in order.
        stop_seconds: how long that may take before it is killed.
        ready_seconds: how long a start may take.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    probe: Callable[[], object]
    directory: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    ready_seconds: float = 180.0
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """File that the output of all its starts is appended to."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.folder / "run" / f"{self.name}.json"

    @property
    def process(self) -> psutil.Process | None:
        """The running process, whoever started it; None if there is none.

        Process ids are used again, so the record holds the start of the process too, in ticks since the machine's
        start: a time of day would change with the clock.
        """
        if self._child is not None:
            self._child.poll()  # takes note of its end, so that it does not stay as a zombie
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            same = record["started"] == _started(record["pid"]) and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, KeyError, psutil.Error):
            return None
        return process if same else None

    @property
    def state(self) -> str:
        """``running``, ``died`` (it was started and nobody stopped it) or ``stopped``."""
        if self.process is not None:
            return "running"
        return "died" if self._record.exists() else "stopped"

    def start(self, wait: bool = True) -> None:
        """Start the process unless it runs; with ``wait``, return when it answers.

        Raises:
            StackError: it ended, or did not answer in time.
        """
        if self.process is None:
            for path in (self.log, self._record):
                path.parent.mkdir(parents=True, exist_ok=True)
            command = list(self.command)
            if self.user:
                command = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *command]
            with open(self.log, "ab") as log:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory or self.folder,
                    env=dict(self.environment),
                    start_new_session=True,
                )
            write_json(self._record, {"pid": self._child.pid, "started": _started(self._child.pid)})
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Poll until the probe's request succeeds.

        Raises:
            StackError: the process ended, or ``ready_seconds`` passed.
        """
        end = time.monotonic() + self.ready_seconds
        while True:
            try:
                self.probe()
                return
            except Exception as error:  # whatever the client library raises: not ready
                reason = str(error).strip().splitlines()
            if self.process is None or time.monotonic() > end:
                tail = self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:] if self.log.exists() else ""
                raise StackError(
                    f"{self.name} {'ended at its start' if self.process is None else 'does not answer'}: "
                    f"{reason[0] if reason else 'no reason given'}\n{tail}",
                    where=str(self.log),
                    remedy="see its log; `python -m infra.local down`, then `up` again",
                )
            time.sleep(POLL_SECONDS)

    def is_ready(self) -> bool:
        """Whether the process runs and answers now."""
        if self.process is None:
            return False
        try:
            self.probe()
        except Exception:
            return False
        return True

    def _family(self) -> list[psutil.Process]:
        """The process and all below it; PostgreSQL's are not in its process group."""
        top = self.process
        if top is None:
            return []
        try:
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL to the process and everything below it, at once."""
        family = self._family()
        for one in family:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        self._reap(family, 30.0)

    def stop(self) -> None:
        """Ask it to end, wait, kill what is left; afterwards it counts as stopped."""
        family = self._family()
        if family:
            with suppress(psutil.NoSuchProcess):
                family[0].send_signal(self.stop_signal)
            self._reap(family[:1], self.stop_seconds)
            for one in family:  # also what outlived its parent
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            self._reap(family, 30.0)
        self._record.unlink(missing_ok=True)

    def _reap(self, family: Sequence[psutil.Process], seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._child is not None:
                self._child.poll()
            if not any(_alive(one) for one in family):
                return
            time.sleep(0.05)


def _started(pid: int) -> str:
    """When the process started, and in which run of the machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return f"{boot} {ticks}"


def _alive(process: psutil.Process) -> bool:
    """Whether the process still holds anything.

    A zombie with threads does: they may yet keep its ports open, and a server started in its place would not get them.
    """
    try:
        if process.status() != psutil.STATUS_ZOMBIE:
            return bool(process.is_running())
        return len(os.listdir(f"/proc/{process.pid}/task")) > 1  # noqa: PTH208
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
