"""Order of the samples, shares of the processes, checkpoints of other launches, losses over a whole step."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim4seg.config.train import Train
from sim4seg.errors import ConfigError, DataError, ModelError
from sim4seg.training.checkpoints import check_origin, write_origin
from sim4seg.training.sample_order import ProcessBatches, SampleOrder, Share
from tests.settings import plain_train, settings

counts = st.integers(1, 12)


@given(counts, counts, counts)
def test_a_step_is_the_same_for_any_number_of_processes(batch_size, accumulation, world):
    step = batch_size * accumulation
    if step % world:
        with pytest.raises(ConfigError, match=f"{step} samples a step cannot be shared equally by {world} processes"):
            Share.of(batch_size, accumulation, world)
        return
    share = Share.of(batch_size, accumulation, world)
    assert share.step == step and share.world == world and share.micro <= batch_size
    assert Share.of(batch_size, accumulation, 1) == Share(1, batch_size, accumulation)


@given(st.integers(1, 60), counts, counts, counts, st.booleans(), st.sampled_from(["proportional", "uniform"]))
def test_all_processes_together_see_the_order_of_one(samples, world, micro, passes, by_length, sampling):
    share = Share(world, micro, passes)
    names = [("a", "b", "c")[place % 3] for place in range(samples)]
    order = SampleOrder(names, list(range(samples)), 5, sampling, share.step, 0, by_length)
    parts = [ProcessBatches(order, share, rank) for rank in range(world)]
    for part in parts:
        part.set_epoch(2)
    lists = [list(part) for part in parts]
    assert {len(batches) for batches in lists} == {len(part) for part in parts} and len({len(p) for p in parts}) == 1
    seen = [row for batches in zip(*lists, strict=True) for batch in batches for row in batch if row >= 0]
    assert seen == order.epoch(2) and len(seen) == samples
    assert all(len(batch) <= micro for batches in lists for batch in batches)


def test_weights_decide_the_shares_and_no_sample_comes_twice_before_all_have_come():
    names = ["small"] * 4 + ["large"] * 40 + ["left out"] * 9
    order = SampleOrder(names, [1] * 53, 1, {"small": 1, "large": 3}, 8, steps=2)
    epochs = [order.epoch(number) for number in range(10)]
    for epoch in epochs:
        assert Counter(names[row] for row in epoch) == {"small": 4, "large": 12}
    assert epochs[0] != epochs[1]
    large = [row for epoch in epochs for row in epoch if names[row] == "large"]
    # 120 rows are three passes over forty; epochs cut passes, so sets are compared over whole ones.
    assert Counter(large) == dict.fromkeys(range(4, 44), 3)
    with pytest.raises(ConfigError, match="no training samples of missing"):
        SampleOrder(names, [1] * 53, 1, {"missing": 1.0}, 8)


def test_like_lengths_share_a_step_and_the_longest_comes_first():
    lengths = [(place * 37) % 101 for place in range(96)]
    order = SampleOrder(["a"] * 96, lengths, 3, "proportional", 8, 0, True).epoch(0)
    assert sorted(order) == list(range(96)) and lengths[order[0]] == max(lengths)
    spread = [
        max(part) - min(part) for at in range(0, 96, 8) for part in [[lengths[row] for row in order[at : at + 8]]]
    ]
    assert max(spread) < 15


def test_a_checkpoint_of_another_engine_or_deepspeed_on_other_processes_is_refused(tmp_path):
    write_origin(tmp_path, 2, "plain")
    check_origin(tmp_path, 4, "plain")
    with pytest.raises(ModelError, match=r"written by 2 processes \(plain\); this run has 2 \(fsdp\)"):
        check_origin(tmp_path, 2, "fsdp")
    write_origin(tmp_path, 8, "deepspeed-zero2")
    check_origin(tmp_path, 8, "deepspeed-zero2")
    with pytest.raises(ModelError, match="written by 8 processes"):
        check_origin(tmp_path, 4, "deepspeed-zero2")
    (tmp_path / "origin.json").unlink()
    with pytest.raises(ModelError, match="unknown"):
        check_origin(tmp_path, 2, "plain")


def test_attention_that_a_loss_needs_is_not_switched_off():
    with pytest.raises(ValueError, match="loss.attend needs attention: eager"):
        settings(Train, attention="sdpa", loss={"attend": 0.5})


def test_answers_without_seg_are_named_before_training(data):
    from sim4seg.data.manifest import read_manifest
    from sim4seg.training.dataset import Collator, SplitDataset
    from sim4seg.training.train import starting_model
    from sim4seg.training.train_paths import TrainPaths

    frame = read_manifest(data / "cot.parquet")
    good = SplitDataset(frame, "train", data / "out/shards")
    row = frame.index[frame["split"] == "train"][1]
    frame.loc[row, "cot"] = "Sure, it is. Finally, the diagnosis is: x"
    with pytest.raises(DataError, match=rf"1 answers in split 'train' have no \[SEG\].*{frame.loc[row, 'id']}"):
        SplitDataset(frame, "train", data / "out/shards")
    _, processor = starting_model(1, plain_train(), TrainPaths(tokenizer=data / "out/tokenizer"))
    batch = Collator(processor)([good[0], good[-1 - 1]])
    assert "idle" not in batch and "idle" in Collator(processor)([good[-1 - 1]])
    with pytest.raises(ModelError, match=rf"no \[SEG\] in the answer of sample {good[1]['id']}"):
        Collator(processor)([good[0], {**good[1], "answer": "Sure: x"}])
