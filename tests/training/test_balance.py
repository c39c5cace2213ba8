"""How often diagnoses and cases without a lesion are drawn, and that nothing but seed and epoch decides it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim4seg.config.balance import Balance
from sim4seg.data.manifest import read_manifest
from sim4seg.training.balance import Cell, cell_shares
from sim4seg.training.dataset import SplitDataset
from sim4seg.training.sample_order import ProcessBatches, SampleOrder, Share
from sim4seg.training.train import _order
from tests.settings import plain_train, settings

BUSI = {("benign", False): 437, ("malignant", False): 210, ("normal", True): 133}
BONES = {("fractured", False): 40, ("non-fractured", True): 360}

cells_of = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()), st.integers(1, 40), min_size=1
)
settings_of = st.builds(
    Balance,
    labels=st.sampled_from([0.0, 0.5, 1.0]),
    repeats=st.sampled_from([1.0, 1.5, 3.0, 50.0]),
    negatives=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)


def listed(counts: dict[tuple[str, bool], int], dataset: str = "a") -> list[Cell]:
    return [Cell(dataset, *cell) for cell, count in counts.items() for _ in range(count)]


def drawn(cells: list[Cell], params: Balance, epochs: int = 1, steps: int = 0) -> list[list[int]]:
    shares = cell_shares(cells, params)
    datasets = [cell.dataset for cell in cells]
    order = SampleOrder(datasets, [1] * len(cells), 5, "proportional", 8, steps, cells=cells, shares=shares)
    return [order.epoch(number) for number in range(epochs)]


def test_diagnoses_are_drawn_equally_often():
    cells = listed(BUSI)
    seen = Counter(cells[row].label for row in drawn(cells, settings(Balance, labels=1))[0])
    assert seen == {"benign": 260, "malignant": 260, "normal": 260}
    half = cell_shares(cells, settings(Balance, labels=0.5))
    roots = {label: count**0.5 for (label, _), count in BUSI.items()}
    assert {cell.label: share for cell, share in half.items()} == pytest.approx(
        {label: root / sum(roots.values()) for label, root in roots.items()}
    )


def test_no_more_cases_without_a_lesion_are_drawn_than_asked_for_however_many_kinds_there_are():
    """An epoch has room for each diagnosis with a lesion; those without one may be left out."""
    few = {(f"rare {number}", True): 1 for number in range(10)}
    cells = listed({("common", False): 89, ("seldom", False): 1, **few})
    for negatives, most in ((0.0, 0), (0.02, 2)):
        (epoch,) = drawn(cells, settings(Balance, labels=1, repeats=50, negatives=negatives))
        assert sum(cells[row].empty for row in epoch) == most
    none = settings(Balance, labels=0, repeats=50, negatives=0)
    thinned = listed({("common", False): 99, ("seldom", False): 1})
    (epoch,) = drawn(thinned, none, steps=1)
    assert {thinned[row].label for row in epoch} == {"common", "seldom"}


def test_no_sample_comes_more_often_than_repeats():
    cells = listed({("common", False): 990, ("rare", False): 10})
    (epoch,) = drawn(cells, settings(Balance, labels=1, repeats=4))
    times = Counter(epoch)
    assert max(times.values()) == 4
    assert Counter(cells[row].label for row in epoch) == {"common": 960, "rare": 40}


def test_cases_without_a_lesion_have_no_more_than_their_share():
    cells = listed(BONES)
    (epoch,) = drawn(cells, settings(Balance, negatives=0.5, repeats=50))
    assert sum(cells[row].empty for row in epoch) == 200
    # Forty broken bones three times each leave room for 280 others.
    (epoch,) = drawn(cells, settings(Balance, negatives=0.5, repeats=3))
    assert sum(cells[row].empty for row in epoch) == 280


@given(cells_of, settings_of)
def test_shares_keep_their_bounds(counts, params):
    cells = [Cell(*cell) for cell, count in counts.items() for _ in range(count)]
    shares = cell_shares(cells, params)
    for dataset in {cell.dataset for cell in cells}:
        own = {cell: share for cell, share in shares.items() if cell.dataset == dataset}
        sizes = {cell: cells.count(cell) for cell in own}
        total = sum(sizes.values())
        assert sum(own.values()) == pytest.approx(1)
        assert all(share <= params.repeats * sizes[cell] / total + 1e-9 for cell, share in own.items())
        room = params.repeats * sum(size for cell, size in sizes.items() if not cell.empty) / total
        empty = sum(share for cell, share in own.items() if cell.empty)
        assert empty <= max(params.negatives, 1 - room) + 1e-9


@given(cells_of, settings_of, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 3]))
def test_any_number_of_processes_draws_the_same(counts, params, world, micro, passes, steps):
    cells = [Cell(*cell) for cell, count in counts.items() for _ in range(count)]
    share = Share(world, micro, passes)
    shares = cell_shares(cells, params)
    rows = [cell.dataset for cell in cells], list(range(len(cells)))
    order = SampleOrder(*rows, 5, "uniform", share.step, steps, cells=cells, shares=shares)
    parts = [ProcessBatches(order, share, rank) for rank in range(world)]
    for part in parts:
        part.set_epoch(3)
    batches = zip(*map(list, parts), strict=True)
    seen = [row for batch in batches for own in batch for row in own if row >= 0]
    again = SampleOrder(*rows, 5, "uniform", share.step, steps, cells=cells, shares=shares)
    assert seen == again.epoch(3) and len(seen) == len(order)


def test_all_samples_of_a_cell_come_before_one_comes_twice():
    cells = listed({("common", False): 30, ("rare", False): 3})
    epochs = drawn(cells, settings(Balance, labels=1, repeats=2), epochs=20, steps=1)
    rare = [row for epoch in epochs for row in epoch if row >= 30]
    assert len(rare) == 20 and set(Counter(rare).values()) == {6, 7}
    assert all(any(row >= 30 for row in epoch) for epoch in epochs), "a rare diagnosis is in every epoch"


def test_off_is_the_order_without_balance(data):
    rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards")
    share = Share.of(2, 1, 1)
    plain = SampleOrder(rows.datasets, rows.lengths, 3, "proportional", 2)
    assert not settings(Balance).enabled
    assert _order(3, plain_train(), rows, share).epoch(1) == plain.epoch(1)
    balanced = _order(3, plain_train(balance=settings(Balance, labels=1)), rows, share)
    assert balanced.epoch(1) != plain.epoch(1) and len(balanced) == len(plain)
