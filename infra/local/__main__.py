"""Start and stop the team stack as processes on this machine.

python -m infra.local up                      start it, wait until all answer, leave it running
python -m infra.local status                  what runs, what died; exit code 1 if something is amiss
eval "$(python -m infra.local env)"           addresses and keys into the shell
python -m infra.local kill s3                 end one service with SIGKILL; `up` starts it again with its data
python -m infra.local down [--purge]          stop it; with --purge remove its data too
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from infra.identities import ROLES
from infra.local.stack import OWN, POOL, Stack
from sim4seg.errors import Sim4SegError, exit_code_of

FOLDER = Path("work/stack")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("infra.local", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["up", "down", "status", "env", "kill"])
    parser.add_argument("service", nargs="*", help="for kill: postgres, s3, prefect, mlflow or worker")
    parser.add_argument("--dir", type=Path, default=FOLDER, help=f"folder of the stack (default {FOLDER})")
    parser.add_argument(
        "--postgres", default=None, help=f"'{OWN}', or postgresql://USER@HOST:PORT/NAME of a running server"
    )
    parser.add_argument("--worker", type=Path, metavar="WORKSPACE", help="also a Prefect worker in this workspace")
    parser.add_argument("--pool", default=POOL, help=f"the worker's work pool (default {POOL})")
    parser.add_argument("--role", default="reader", choices=ROLES, help="for env: whose S3 keys (default reader)")
    parser.add_argument("--purge", action="store_true", help="for down: remove all data of the stack")
    return parser.parse_args(arguments)


def _status(stack: Stack) -> int:
    amiss = 0
    for service in stack:
        state = service.state
        if state == "running" and not service.is_ready():
            state = "does not answer"
        amiss += state != "running"
        print(f"{service.name:10} {state:16} {service.log}")
    return 1 if amiss else 0


def _act(options: argparse.Namespace) -> int:
    if options.action != "up" and not (options.dir / "stack.json").exists():
        raise Sim4SegError(
            f"there is no stack in {options.dir}", remedy="start one with `up`, or name its folder by --dir"
        )
    stack = Stack(options.dir, options.postgres, options.worker, options.pool)
    if options.action == "up":
        stack.up()
        print(f"Prefect  http://127.0.0.1:{stack.ports['prefect']}")
        print(f"MLflow   http://127.0.0.1:{stack.ports['mlflow']}")
        print(f"S3       {stack.endpoint}")
        print(f'logins and keys: eval "$(python -m infra.local env --dir {options.dir})"')
    elif options.action == "down":
        stack.purge() if options.purge else stack.down()
    elif options.action == "status":
        return _status(stack)
    elif options.action == "kill":
        for name in options.service:
            stack[name].kill()
    else:
        for name, value in stack.env(options.role).items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; the exit code."""
    options = _parse(arguments)
    return exit_code_of(lambda: _act(options))


if __name__ == "__main__":
    sys.exit(main())
