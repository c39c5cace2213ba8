"""Train, validation and test: no group in two of them, official splits honoured, the rest by exact shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sim4seg.config.ingest import SplitShares
from sim4seg.data.sample import SPLITS, Split
from sim4seg.digest import digest_bytes

_PRECEDENCE: tuple[Split, ...] = ("test", "val", "train")
"""A group that spans official splits goes whole to the strictest, so that nothing of a test patient is trained on."""


@dataclass(frozen=True)
class SplitRow:
    """What decides a sample's split."""

    dataset: str
    group: str
    label: str
    official: Split | None


def assign_splits(rows: Sequence[SplitRow], shares: SplitShares, seed: int) -> list[Split]:
    """The split of each row.

    A group's official split is the strictest of its members'. Where a dataset has official training groups but no
    validation group, validation is drawn from training. Groups without an official split are dealt by share,
    label by label, in an order that only the seed and the groups' names decide.

    Returns:
        one split a row.
    """
    members: dict[str, list[SplitRow]] = defaultdict(list)
    for row in rows:
        members[row.group].append(row)
    official = {group: _official(rows_of_group) for group, rows_of_group in members.items()}
    with_val = {row.dataset for row in rows if official[row.group] == "val"}
    free: dict[tuple[str, str], list[str]] = defaultdict(list)
    chosen: dict[str, Split] = {}
    for group, rows_of_group in members.items():
        split, dataset = official[group], rows_of_group[0].dataset
        if split is None:
            free[dataset, "all"].append(group)
        elif split == "train" and dataset not in with_val:
            free[dataset, "train"].append(group)
        else:
            chosen[group] = split
    for (_, kind), groups in sorted(free.items()):
        target_shares = {"train": shares.train, "val": shares.val, "test": shares.test if kind == "all" else 0.0}
        ordered = sorted(groups, key=lambda g: (members[g][0].label, digest_bytes(str(seed).encode(), g.encode())))
        chosen |= _deal(ordered, {g: len(members[g]) for g in groups}, target_shares)
    return [chosen[row.group] for row in rows]


def _official(members: list[SplitRow]) -> Split | None:
    named = {row.official for row in members}
    return next((split for split in _PRECEDENCE if split in named), None)


def _deal(groups: list[str], sizes: dict[str, int], shares: dict[str, float]) -> dict[str, Split]:
    """Give each group in turn to the split that lacks most of its share so far."""
    whole = sum(shares.values())
    given = dict.fromkeys(SPLITS, 0)
    chosen: dict[str, Split] = {}
    done = 0
    for group in groups:
        done += sizes[group]
        lacking = {split: shares[split] / whole * done - given[split] for split in SPLITS if shares[split] > 0}
        split = max(lacking, key=lambda s: (lacking[s], -SPLITS.index(s)))
        chosen[group] = split
        given[split] += sizes[group]
    return chosen
