"""What made a version, and making it again: git worktrees, DVC's record of digests, verification, reproduction."""
