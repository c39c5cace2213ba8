"""Files that are no data and come by themselves: of file managers, network drives, editors, version control."""

from __future__ import annotations

import re

CLUTTER = (
    # macOS; ._NAME is what its copies leave on disks that know no resource forks
    ".DS_Store", "._*", "__MACOSX", ".Spotlight-V100", ".Trashes", ".fseventsd", ".TemporaryItems", ".AppleDouble",
    ".AppleDB", ".AppleDesktop", ".DocumentRevisions-V100", ".VolumeIcon.icns", ".LSOverride", ".apdisk",
    ".com.apple.timemachine.donotpresent",
    # Windows
    "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information",
    # Synology and QNAP drives
    "@eaDir", "#recycle", ".@__thumb", "@Recycle",
    # Linux: folders of KDE and GNOME, files that a program still has open when they are removed
    ".directory", ".Trash-*", "lost+found", ".nfs*", ".fuse_hidden*",
    # a table is open in LibreOffice, Excel or Emacs
    ".~lock.*", "~$*", ".#*",
    # a data set that is a repository of its own (git-annex and DataLad keep the files' contents in .git)
    ".git", ".hg", ".svn", ".dvc", ".datalad", ".ipynb_checkpoints",
)  # fmt: skip
"""Names of files and folders, upper and lower case alike; ``*`` stands for anything. .dvcignore has them, too."""

_NAMES = "|".join(re.escape(name).replace(r"\*", "[^/]*") for name in CLUTTER)
_ANYWHERE = re.compile(f"(?:^|/)(?:{_NAMES})(?:/|$)", re.IGNORECASE)


def is_clutter(key: str) -> bool:
    """Whether a name, or a folder in a path with slashes, is one of :data:`CLUTTER`: it is in no snapshot."""
    return _ANYWHERE.search(key) is not None
