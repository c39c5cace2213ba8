"""Splits and near-duplicates."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim4seg.config.ingest import SplitShares
from sim4seg.data.duplicates import Groups, near_pairs, perceptual_hash
from sim4seg.data.splits import SplitRow, assign_splits
from tests.data.pictures import texture
from tests.settings import shipped

SHARES = shipped().ingest.splits

rows = st.lists(
    st.builds(
        SplitRow,
        dataset=st.sampled_from(["a", "b"]),
        group=st.integers(0, 30).map(str),
        label=st.sampled_from(["x", "y"]),
        official=st.sampled_from([None, None, "train", "val", "test"]),
    ),
    min_size=1,
    max_size=80,
)


@settings(max_examples=80, deadline=None)
@given(found=rows, seed=st.integers(0, 5))
def test_no_group_in_two_splits_and_official_test_is_never_trained_on(found, seed):
    splits = assign_splits(found, SHARES, seed)
    by_group = {}
    for row, split in zip(found, splits, strict=True):
        assert by_group.setdefault(row.group, split) == split
        if row.official == "test":
            assert split == "test"
        if row.official == "val":
            assert split in {"val", "test"}
    assert splits == assign_splits(found, SHARES, seed)


def test_shares_are_exact_and_labels_are_spread():
    found = [SplitRow("a", str(i), "x" if i % 4 else "y", None) for i in range(200)]
    splits = assign_splits(found, SHARES, 3)
    assert [splits.count(s) for s in ("train", "val", "test")] == [140, 20, 40]
    rare = [s for r, s in zip(found, splits, strict=True) if r.label == "y"]
    assert abs(rare.count("test") - 10) <= 1


def test_each_label_has_its_share_and_the_order_of_the_rows_does_not_matter():
    found = [SplitRow("a", f"{label}{i}", label, None) for i in range(10) for label in "abcdefghijk"]
    splits = dict(zip(found, assign_splits(found, SHARES, 3), strict=True))
    for label in "abcdefghijk":
        mine = [split for row, split in splits.items() if row.label == label]
        assert [mine.count(split) for split in ("train", "val", "test")] == [7, 1, 2], label
    backwards = found[::-1]
    assert dict(zip(backwards, assign_splits(backwards, SHARES, 3), strict=True)) == splits


def test_the_seed_decides_who_is_tested_on():
    found = [SplitRow("a", str(i), "x", None) for i in range(100)]
    tested = {
        seed: {row.group for row, split in zip(found, assign_splits(found, SHARES, seed), strict=True)
               if split == "test"}
        for seed in (0, 1, 2)
    }  # fmt: skip
    assert all(len(groups) == 20 for groups in tested.values())
    assert len({frozenset(groups) for groups in tested.values()}) == 3


def test_shares_are_of_rows():
    found = [SplitRow("a", str(i), "x", None) for i in range(10) for _ in range(4)]
    found += [SplitRow("a", "large", "y", None)] * 20
    splits = assign_splits(found, SplitShares(train=0.5, val=0.25, test=0.25), 1)
    counts = [splits[:40].count(split) for split in ("train", "val", "test")]
    assert counts[0] == 20 and sorted(counts[1:]) == [8, 12]
    assert splits[40:] == ["train"] * 20, "what lacks most when twenty come at once is the largest share"


def test_of_splits_that_lack_the_same_the_first_is_served():
    three, shares = [SplitRow("a", str(i), "x", None) for i in range(3)], SplitShares(train=0.5, val=0.25, test=0.25)
    assert set(assign_splits(three[:2], shares, 0)) == {"train", "val"}
    assert set(assign_splits(three, shares, 0)) == {"train", "val", "test"}


def test_ten_groups_reach_every_split_and_missing_validation_is_drawn_from_training():
    ten = [SplitRow("a", str(i), "x", None) for i in range(10)]
    assert set(assign_splits(ten, SHARES, 0)) == {"train", "val", "test"}
    official = [SplitRow("a", str(i), "x", "test" if i < 10 else "train") for i in range(50)]
    splits = assign_splits(official, SHARES, 0)
    assert splits[:10] == ["test"] * 10
    assert splits[10:].count("val") == 5
    assert "test" not in splits[10:]


def test_near_duplicates_are_found_and_others_are_not():
    image = texture(1, (64, 80, 3))
    brighter = np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8)
    smaller = image[::2, ::2]
    pictures = [
        image,
        texture(2),
        brighter,
        texture(3),
        smaller,
        np.full((9, 9), 7, np.uint8),
        np.full((9, 9), 90, np.uint8),
    ]
    codes, thumbnails = zip(*[perceptual_hash(p) for p in pictures], strict=True)
    pairs = set(near_pairs(np.array(codes, dtype=np.uint64), np.stack(thumbnails), 4))
    assert pairs == {(0, 2), (0, 4), (2, 4)}


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_groups_are_the_connected_components(edges):
    groups = Groups(20)
    for i, j in edges:
        groups.join(i, j)
    component = list(range(20))
    for _ in range(20):
        for i, j in edges:
            component[i] = component[j] = min(component[i], component[j])
    assert [groups.find(i) for i in range(20)] == component
