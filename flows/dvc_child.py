"""DVC as a child that ends with its parent: ``python -m flows.dvc_child ARGUMENTS``."""

from __future__ import annotations

import sys

from sim4seg.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    from dvc.cli import main

    sys.exit(main(sys.argv[1:]))
