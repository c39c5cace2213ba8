"""DVC as a child that ends with its parent, and starts after a kill: ``python -m flows.dvc_child ARGUMENTS``."""

from __future__ import annotations

import sys
from pathlib import Path

from sim4seg.lineage.dvc_recovery import mend_torn
from sim4seg.parent_death import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    for done in mend_torn(Path()):
        print(done, file=sys.stderr)
    from dvc.cli import main

    sys.exit(main(sys.argv[1:]))
