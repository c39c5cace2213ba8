"""A cache of keys and values with room for more."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values at the front of buffers that have room, so that a token is written in place.

    transformers' own layer copies all of them for each token; its ``StaticLayer`` does not, but has attention go
    over the empty room as well and cannot drop rows.

    Attributes:
        keys: (R, heads, tokens so far, D), a view of its buffer.
        values: the same of the values.
    """

    def __init__(self, filled: DynamicLayer, room: int) -> None:
        """Take over what a layer holds.

        Args:
            filled: has read the prompt.
            room: tokens that will be read after it; more still fit, at the price of a copy each time it is used up.
        """
        super().__init__()
        # Sets dtype and device, and empties both: they are put in place after it.
        self.lazy_initialization(filled.keys, filled.values)
        self.keys, self.values = filled.keys, filled.values
        self.room = max(1, room)
        # Room for all in the first buffers: rows that leave make new ones, of no more than this length.
        self.expected = filled.keys.shape[-2] + self.room
        self.buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append (R, heads, new tokens, D) of each; gives all keys and all values."""
        filled = self.keys.shape[-2]
        total = filled + key_states.shape[-2]
        if self.buffers is None or total > self.buffers[0].shape[-2]:
            length = self.expected if total <= self.expected else total + self.room
            self.buffers = _with_room(self.keys, length), _with_room(self.values, length)
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[..., filled:total, :] = new
        self.keys, self.values = (buffer[..., :total, :] for buffer in self.buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows only; the next token makes smaller buffers."""
        super().batch_select_indices(indices)
        self.buffers = None  # the selected keys are a copy, the buffers still hold all rows

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row; the next token makes larger buffers."""
        super().batch_repeat_interleave(repeats)
        self.buffers = None


def make_room(cache: Any, room: int) -> None:
    """Give each plain layer of a cache room, in place; layers of other kinds (sliding windows, say) stay as they are.

    Args:
        cache: transformers' ``Cache`` after the prompt.
        room: tokens that will be read.
    """
    cache.layers = [RoomyLayer(one, room) if type(one) is DynamicLayer else one for one in cache.layers]


def _with_room(filled: Tensor, length: int) -> Tensor:
    # What lies beyond the filled part is never read: the views end before it.
    buffer = filled.new_empty((*filled.shape[:-2], length, filled.shape[-1]))
    buffer[..., : filled.shape[-2], :] = filled
    return buffer
