"""DVC in a folder: which stages changed, running one with its output shown, pushing what it made."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sim4seg.errors import Sim4SegError, Unreachable
from sim4seg.lineage.dvc_project import start_dvc

DVC = (sys.executable, "-m", "flows.dvc_child")
LOCK_HELD = "Unable to acquire lock"
LOCK_RETRIES, LOCK_SECONDS = 5, 3.0
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)")
OUTAGE = re.compile(
    r"(?i)connection|connect to|endpoint|timed? ?out|unreachable|slow ?down|(?<!\d)50[0234](?!\d)|network"
)
"""What DVC's own errors about a remote say when it is the network or the store, not the request."""


class StageFailed(Sim4SegError):
    """A stage's command, or DVC around it, ended with an error; its output was shown as it came.

    Args:
        exited: exit code of the stage's own command, negative for a signal; None if DVC did not say.
    """

    def __init__(self, what: str, *, where: str, remedy: str, exited: int | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.exited = exited

    @property
    def worth_a_retry(self) -> bool:
        """Whether it was the machine or a service rather than the work: out of reach, or killed by a signal."""
        return self.exited is not None and (self.exited == Unreachable.exit_code or not 0 <= self.exited <= 128)


@dataclass(frozen=True)
class DvcRunner:
    """DVC on the project in ``folder``.

    Attributes:
        folder: where dvc.yaml is.
        environment: of DVC and of the stages' commands.
    """

    folder: Path = Path()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def _environment(self) -> dict[str, str]:
        """``python`` in dvc.yaml is this interpreter, activated or not; the folder's code wins over installed code."""

        def first(place: str, name: str) -> str:
            return os.pathsep.join(filter(None, [place, self.environment.get(name, "")]))

        own = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(self.folder.resolve())}
        return {**self.environment, **{name: first(place, name) for name, place in own.items()}}

    def changed(self, stages: set[str]) -> set[str]:
        """Those of ``stages`` that DVC reports as changed; all of them if it cannot say."""
        command = [*DVC, "status", "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=self._environment()
        )
        try:
            status = json.loads(done.stdout)
        except ValueError:
            return set(stages)
        return {key.rpartition(":")[2] for key in status} & stages

    def reproduce(self, stage: str, force: bool = False, seconds: float | None = None) -> None:
        """Run one stage, showing its output; waits while another process holds DVC's lock.

        Args:
            seconds: it is ended, with all its children, when it runs longer; None = no limit.

        Raises:
            StageFailed: it failed or ran too long.
        """
        arguments = ["repro", "--single-item", *(["--force"] if force else []), stage]
        for attempt in range(LOCK_RETRIES + 1):
            locked, exited = False, None
            try:
                for line in self._lines(arguments, f"stage {stage}", seconds):
                    locked = locked or LOCK_HELD in line
                    match = EXITED.search(line)
                    exited = int(match[1]) if match else exited
                    print(line, end="", flush=True)
                return
            except StageFailed as error:
                if locked and attempt < LOCK_RETRIES:
                    time.sleep(LOCK_SECONDS)
                    continue
                error.exited = error.exited if exited is None else exited
                raise

    def push(self) -> None:
        """`dvc push` to the default remote, of everything that dvc.lock names.

        Raises:
            StageFailed: the remote refused, or is out of reach.
        """
        output = []
        try:
            for line in self._lines(["push"], "dvc push", None):
                output.append(line)
                print(line, end="", flush=True)
        except StageFailed as error:
            error.exited = Unreachable.exit_code if OUTAGE.search("".join(output)) else 1
            raise

    def _lines(self, arguments: list[str], what: str, seconds: float | None) -> Iterator[str]:
        """Lines of one DVC call as they come; raises StageFailed at the end if it failed."""
        with (
            start_dvc([*DVC, *arguments], self.folder, self._environment(), own_session=True) as child,
            _ended_with_us(child, seconds) as late,
        ):
            assert child.stdout is not None
            yield from child.stdout
        if late.is_set():
            raise StageFailed(
                f"{what} ran for more than {seconds:g} s and was ended",
                where=what,
                remedy="raise retrain.stage_hours or retrain.flow_hours, or find out what it waits for; "
                "a rerun goes on where it was",
                exited=1,
            )
        if child.returncode:
            raise StageFailed(f"{what} failed", where=what, remedy="see its output above, mend, run again")


@contextmanager
def _ended_with_us(child: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """Kill the child's whole process group when the time is over or the block ends in an error; the event says late."""
    late = threading.Event()

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    def over() -> None:
        late.set()
        kill()

    timer = threading.Timer(seconds, over) if seconds is not None else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield late
    except BaseException:
        kill()
        raise
    finally:
        if timer:
            timer.cancel()
