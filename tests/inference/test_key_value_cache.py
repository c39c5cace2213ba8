"""A cache with room holds what transformers' own holds, whatever is done to it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer

from sim4seg.inference import key_value_cache
from sim4seg.inference.key_value_cache import RoomyLayer, make_room

steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("keep"), st.lists(st.integers(0, 2), min_size=1, max_size=4)),
        st.tuples(st.just("repeat"), st.integers(1, 2)),
    ),
    max_size=12,
)


def filled(rows=3, length=4):
    torch.manual_seed(0)
    plain = DynamicCache()
    for layer in range(2):
        plain.update(torch.randn(rows, 2, length, 5), torch.randn(rows, 2, length, 6), layer)
    return plain


@settings(max_examples=60, deadline=None)
@given(room=st.integers(0, 6), steps=steps)
def test_it_holds_what_the_plain_one_holds(room, steps):
    plain, roomy = filled(), filled()
    make_room(roomy, room)
    torch.manual_seed(1)
    for what, how in steps:
        rows = plain.layers[0].keys.shape[0]
        for one in (plain, roomy):
            if what == "keep":
                one.batch_select_indices(torch.tensor([index % rows for index in how]))
            elif what == "repeat" and rows < 20:
                one.batch_repeat_interleave(how)
        if what == "read":
            for layer in range(2):
                new = torch.randn(rows, 2, how, 5), torch.randn(rows, 2, how, 6)
                for mine, theirs in zip(roomy.update(*new, layer), plain.update(*new, layer), strict=True):
                    assert torch.equal(mine, theirs)
        assert roomy.get_seq_length() == plain.get_seq_length()
        for mine, theirs in zip(roomy.layers, plain.layers, strict=True):
            assert torch.equal(mine.keys, theirs.keys) and torch.equal(mine.values, theirs.values)


def test_tokens_are_written_in_place_while_there_is_room():
    roomy = filled()
    make_room(roomy, 3)
    places = set()
    for _ in range(3):
        keys, _ = roomy.update(torch.randn(3, 2, 1, 5), torch.randn(3, 2, 1, 6), 0)
        places.add(keys.data_ptr())
    assert len(places) == 1


def test_an_answer_that_fills_its_room_exactly_gets_no_more():
    roomy = filled(length=4)
    make_room(roomy, 3)
    roomy.update(torch.randn(3, 2, 3, 5), torch.randn(3, 2, 3, 6), 0)
    assert roomy.layers[0].buffers[0].shape[-2] == 4 + 3


def test_layers_of_other_kinds_stay():
    plain = filled()
    plain.layers[1] = DynamicSlidingWindowLayer(sliding_window=4)
    make_room(plain, 3)
    assert [type(layer) for layer in plain.layers] == [RoomyLayer, DynamicSlidingWindowLayer]


def test_room_is_for_one_answer_however_often_rows_end():
    roomy = filled()
    make_room(roomy, 5)
    for rows in (3, 2, 1):
        roomy.batch_select_indices(torch.arange(rows))
        roomy.update(torch.randn(rows, 2, 1, 5), torch.randn(rows, 2, 1, 6), 0)
        assert roomy.layers[0].buffers[0].shape[-2] == 4 + 5


@pytest.mark.parametrize("length", [1, 7])
def test_running_out_of_room_costs_a_copy_and_nothing_else(length, monkeypatch):
    made = []
    original = key_value_cache._with_room
    monkeypatch.setattr(key_value_cache, "_with_room", lambda *given: made.append(given) or original(*given))
    roomy = filled()
    make_room(roomy, length)
    for _ in range(3 * length + 2):
        roomy.update(torch.randn(3, 2, 1, 5), torch.randn(3, 2, 1, 6), 0)
    assert len(made) == 2 * 3
    assert roomy.get_seq_length() == 4 + 3 * length + 2
