"""Servers killed at random moments of retraining: ``python -m tests.team.faults [--kills N] [--seed N]``.

Each round uploads images and starts a retraining. In chosen stages, at random moments, a server (or the worker with
all that it runs) is ended with SIGKILL and started again a little later. A run that dies of it is followed by another,
as the schedule would. After each round nothing may be lost or half done; at the end the champion is made again,
undisturbed, and must be the same to the byte.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import psutil

from sim4seg.git import git
from tests.pipeline.project import stages
from tests.team.team import Team

SERVERS = ("worker", "prefect", "mlflow", "postgres", "s3")
PROMOTION = "promotion"
DECIDING = "deciding on version"
"""What `flows.promote` prints when it starts."""


@dataclass(frozen=True)
class Kill:
    """One kill that is wanted: which server, in the middle of what."""

    server: str
    step: str


def all_kills() -> list[Kill]:
    """Every server in every stage and in the promotion, sorted by step."""
    return [Kill(server, step) for step in (*stages(), PROMOTION) for server in SERVERS]


class Campaign:
    """Kills on a team that is up.

    Args:
        team: servers and project.
        seed: of the moments.
    """

    def __init__(self, team: Team, seed: int) -> None:
        self.team, self.random = team, random.Random(seed)
        self.done: list[Kill] = []
        self.began, self.offset = time.monotonic(), 0

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)

    def round(self, wanted: deque[Kill], count: int) -> list[Kill]:
        """One retraining with up to ``count`` kills.

        Returns:
            the kills whose step went by before they could be made.
        """
        self.team.upload(2)
        plan = sorted((wanted.popleft() for _ in range(min(count, len(wanted)))), key=lambda k: _steps().index(k.step))
        before, missed = self._digests(), []
        run = self._start()
        for kill in plan:
            run, met = self._reach(run, kill.step)
            if not met:
                missed.append(kill)
                continue
            time.sleep(self.random.uniform(0.0, 2.0))
            self.team.stack[kill.server].kill()
            self.say(f"killed {kill.server} in {kill.step}")
            time.sleep(self.random.uniform(0.0, 4.0))
            if kill.server == "worker":  # as its supervisor does, see docs/operations.md
                self.say(self.team.run("flows.recovery").strip().splitlines()[-1])
            self.team.stack[kill.server].start()
            self.done.append(kill)
        self._finish(run)
        self._check(before)
        return missed

    def _start(self) -> str:
        """A run that began; the concurrency slot of a dead one is free only when its lease has run out."""
        while True:
            self.offset = self.team.stack["worker"].log.stat().st_size
            run = self.team.start_run()
            state = self.team.wait(lambda run=run: self._begun(run), 300)
            if state["type"] != "CANCELLED":
                return run
            self.say(self.team.run("flows.recovery").strip().splitlines()[-1])
            time.sleep(2)

    def _begun(self, run: str) -> dict[str, str] | None:
        state = self._state(run)
        return state if state and state["type"] not in ("SCHEDULED", "PENDING") else None

    def _state(self, run: str) -> dict[str, str] | None:
        try:
            return dict(self.team.api(f"flow_runs/{run}")["state"])
        except OSError:
            return None

    def _at_work(self) -> set[str]:
        """Stages whose process runs in this team's project now, and the promotion."""
        found = set()
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            named = [word.removeprefix("stages.") for word in words if word.startswith("stages.")]
            try:
                if named and Path(process.cwd()).is_relative_to(self.team.workspace):
                    found.add(named[0])
            except psutil.Error:
                continue
        if not found and DECIDING in self._log():
            found.add(PROMOTION)
        return found

    def _log(self) -> str:
        """What the worker and its runs have said since the last start of a run."""
        with open(self.team.stack["worker"].log, encoding="utf-8", errors="replace") as stream:
            stream.seek(self.offset)
            return stream.read()

    def _reach(self, run: str, step: str) -> tuple[str, bool]:
        """Wait until ``step`` is at work; False if a later one is, or all is done."""
        order, until = _steps(), time.monotonic() + 400
        while time.monotonic() < until:
            now = self._at_work()
            if step in now:
                return run, True
            if any(order.index(one) > order.index(step) for one in now):
                return run, False
            state = self._state(run)
            if state and state["type"] == "COMPLETED":
                return run, False
            if state and state["type"] in ("FAILED", "CRASHED", "CANCELLED"):
                self.say(f"run ended: {state['name']}, {(state['message'] or '').splitlines()[:1]}; starting the next")
                run = self._start()
            if state and state["type"] == "RUNNING" and not self._alive():
                self.say("run died; starting the next")
                run = self._start()
            time.sleep(0.5)  # looking through all processes is work, too
        raise AssertionError(f"{step} was not reached")

    def _alive(self) -> bool:
        """Whether some process of this team works for a flow run; asked for a while, as one may just be starting."""
        lock = self.team.workspace / "work/retrain/retrain.lock"
        for _ in range(40):
            if any("engine" in " ".join(_words(process)) for process in _below(self.team.stack["worker"].process)):
                return True
            time.sleep(0.25)
        return not lock.exists()

    def _finish(self, run: str) -> None:
        """Runs until one is completed."""
        while True:
            state = self.team.wait(lambda run=run: self._over(run), 600)
            self.say(f"{state['name']}: {(state['message'] or '').splitlines()[:1]}")
            if state["type"] == "COMPLETED":
                return
            run = self._start()

    def _over(self, run: str) -> dict[str, str] | None:
        state = self._state(run)
        if state and state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state
        if state and state["type"] == "RUNNING" and not self._alive():
            return {"type": "DEAD", "name": "Dead", "message": "its process is gone"}
        return None

    def _digests(self) -> set[str]:
        return {entry["digest"] for entry in self.team.history()}

    def _check(self, before: set[str]) -> None:
        """Nothing lost, nothing half."""
        history = self.team.history()  # checks the hash chain, and the log against the registry
        assert before <= {entry["digest"] for entry in history}, "the log lost an entry"
        champions = [entry["version"] for entry in history if entry["action"] in ("promote", "rollback")]
        said = self.team.run("sim4seg.cli", "promote", "--version", champions[-1])
        assert "is the champion" in said, said
        trees = git(self.team.workspace, "worktree", "list", "--porcelain").count("worktree ")
        assert trees == 1, "a worktree was left behind"
        local = git(self.team.workspace, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/retrain")
        remote = git(self.team.folder / "remote.git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads")
        assert set(local.splitlines()) <= set(remote.splitlines()), "a branch was not pushed whole"
        assert not self._at_work() - {PROMOTION}, "a stage keeps running with no one waiting for it"


def _below(process: psutil.Process | None) -> list[psutil.Process]:
    """Its children and theirs; none if it has ended."""
    try:
        return process.children(recursive=True) if process else []
    except psutil.Error:
        return []


def _words(process: psutil.Process) -> list[str]:
    """Command line; empty if the process has ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _steps() -> list[str]:
    return [*stages(), PROMOTION]


def run(folder: Path, kills: int, seed: int, a_round: int = 8, one_each: bool = False) -> Campaign:
    """A whole campaign on a new team.

    Args:
        kills: how many; with 45 or more, each server is killed in each step.
        seed: of the order and the moments.
        a_round: kills in one retraining.
        one_each: begin with one kill of each server, each in another step.
    """
    team = Team(folder)
    try:
        team.up()
        campaign = Campaign(team, seed)
        team.upload(12)
        campaign._finish(campaign._start())
        order = all_kills()
        campaign.random.shuffle(order)
        if one_each:
            steps = campaign.random.sample(_steps(), len(SERVERS))
            order = [Kill(server, step) for server, step in zip(SERVERS, steps, strict=True)]
        wanted = deque(itertools.islice(itertools.cycle(order), kills))
        while wanted and len(campaign.done) < kills:
            wanted.extend(campaign.round(wanted, a_round))
        said = team.run("sim4seg.cli", "reproduce", "models:/sim4seg@champion")
        assert "identical" in said, said
        campaign.say(f"{len(campaign.done)} kills; the champion, made again undisturbed: identical")
        return campaign
    finally:
        team.stack.kill()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.team.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=45)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        campaign = run(given.folder or Path(scratch) / "team", given.kills, given.seed)
    for server in SERVERS:
        steps = sorted({kill.step for kill in campaign.done if kill.server == server}, key=_steps().index)
        print(f"{server:9} {sum(k.server == server for k in campaign.done):3} kills, in {', '.join(steps)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
