"""Starting the stage again as several processes, under a launcher that the user names."""

from __future__ import annotations

import os
import shlex

from sim4seg.errors import ConfigError

LAUNCHER = "SIM4SEG_LAUNCH"
"""Environment variable, for example ``torchrun --nproc-per-node 8``: a matter of the machine, not of the result."""


def relaunch(module: str) -> None:
    """Replace this process with ``$SIM4SEG_LAUNCH -m module``; return where the variable is not set.

    Raises:
        ConfigError: there is no such command.
    """
    command = shlex.split(os.environ.pop(LAUNCHER, ""))
    if not command:
        return
    try:
        os.execvp(command[0], [*command, "-m", module])
    except OSError as error:
        raise ConfigError(
            f"cannot start {command[0]}: {error.strerror}",
            where=f"the environment variable {LAUNCHER}",
            remedy="give a launcher that is installed, as in `torchrun --nproc-per-node 8`",
        ) from error
