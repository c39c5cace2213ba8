"""Several answers an image from one prefill, and on the way the hidden states that the mask path needs.

Prompt and image are read once; the cache of keys and values is then repeated for each path. What a causal model
makes of the image tokens does not depend on the answer, so their states are those of the prefill; the state before
``[SEG]`` is kept when that token is written. No second pass over the finished text is needed.

transformers' ``generate`` gives neither: it would read the image once a path, draws all samples from one global
generator, and goes on paying for rows that are finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sim4seg.digest import digest_json
from sim4seg.inference.key_value_cache import make_room


@dataclass(frozen=True)
class TokenIds:
    """Token ids that decoding must know: the end of an answer, ``[SEG]``, and the image placeholder (never written)."""

    end: int
    seg: int
    image: int


@dataclass(frozen=True)
class Written:
    """One generated answer.

    Attributes:
        ids: tokens up to the end token, without it.
        log_probability: mean log-probability of the tokens under the unscaled model, the end token included.
        complete: whether the end token came; False if the length ran out first.
    """

    ids: list[int]
    log_probability: float
    complete: bool


@dataclass(frozen=True)
class Writing:
    """All answers of a batch.

    Attributes:
        paths: B lists of m answers.
        seg_states: (B * m, H), image by image: state of the position before the first ``[SEG]``; where there is none,
            of the answer's last position, as if ``[SEG]`` were appended there.
        prompt_states: (B, L, H) of the prompts; those at the image tokens are the same whatever the answer.
    """

    paths: list[list[Written]]
    seg_states: Tensor
    prompt_states: Tensor


def uniform_draws(seeds: list[int], paths: int, length: int) -> Tensor:
    """(B * m, length) float64 in [0, 1). A row depends on its image's seed and its path only, not on the batch."""
    generators = [torch.Generator().manual_seed(_seed("text", seed, path)) for seed in seeds for path in range(paths)]
    return torch.stack([torch.rand(length, generator=one, dtype=torch.float64) for one in generators])


def _seed(*parts: object) -> int:
    return int(digest_json(list(parts))[:15], 16)


def region_generator(seed: int, path: int) -> torch.Generator:
    """Generator of the region perturbations of one path of one image."""
    return torch.Generator().manual_seed(_seed("region", seed, path))


def pick_tokens(logits: Tensor, draws: Tensor, temperatures: Tensor) -> Tensor:
    """The next token of each row: the likeliest where its temperature is 0, else a sample.

    Args:
        logits: (R, V) float32; -inf is never picked.
        draws: (R,) float64 in [0, 1), turned into samples by the inverse of the distribution function.
        temperatures: (R,) float64.

    Returns:
        (R,) ids.
    """
    tokens = logits.argmax(-1)
    sampled = temperatures > 0
    if bool(sampled.any()):
        # Double, since in a float32 sum that is near 1 the share of a rare token (below 6e-8) would be lost.
        scaled = logits[sampled].double() / temperatures[sampled, None]
        below = scaled.softmax(-1).cumsum(-1)
        # A share of the last sum, which rounding leaves near 1 only: no draw may lie beyond the last token.
        targets = draws[sampled, None] * below[:, -1:]
        # right=True: the first sum above the target, so that a draw of 0 skips tokens of probability 0.
        tokens[sampled] = torch.searchsorted(below, targets, right=True)[:, 0]
    return tokens


def write_paths(
    lvlm: Any,
    inputs: Mapping[str, Tensor],
    vocabulary: TokenIds,
    draws: Tensor,
    temperatures: Tensor,
) -> Writing:
    """Write m answers to each of B prompts.

    Args:
        lvlm: a transformers image-text-to-text model with ``model`` and ``lm_head``.
        inputs: what the model reads: input_ids and attention_mask (B, L), padded on the left, pixel_values, and
            whatever else its family needs.
        vocabulary: the ids that matter here.
        draws: (B * m, longest answer), image by image, see :func:`uniform_draws`.
        temperatures: (m,) of each path; 0 is greedy.
    """
    paths, device = len(temperatures), inputs["input_ids"].device
    positions = _prompt_positions(lvlm, inputs)
    read = lvlm.model(**inputs, position_ids=positions, use_cache=True)
    states = read.last_hidden_state
    # Prompts are padded on the left, so that the last place is the last token of each.
    rows = _Rows(
        state=states[:, -1].repeat_interleave(paths, 0),
        mask=inputs["attention_mask"].repeat_interleave(paths, 0),
        position=positions[..., -1:].repeat_interleave(paths, -2),
        cache=read.past_key_values,
    )
    rows.cache.batch_repeat_interleave(paths)
    make_room(rows.cache, draws.shape[1])
    # Rows go image by image: states are repeated one by one above, the paths' temperatures as a whole.
    written, seg_states = _continue(
        lvlm, rows, vocabulary, draws.to(device), temperatures.double().to(device).repeat(len(states))
    )
    return Writing([written[i : i + paths] for i in range(0, len(written), paths)], seg_states, states)


def _prompt_positions(lvlm: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """Position ids of the prompt, (..., B, L): (B, L) for most families, more axes for those with image positions.

    By transformers' own method, which each family overrides; after the prompt every axis counts on by one.
    """
    positions: Tensor = lvlm._prepare_position_ids_for_generation(inputs["input_ids"], dict(inputs))
    return positions


@dataclass
class _Rows:
    """The answers that are still being written.

    Attributes:
        state: (R, H) that predicts the next token.
        mask: (R, L) attention mask of what is in the cache.
        position: (..., R, 1) of the last token read.
        cache: keys and values.
    """

    state: Tensor
    mask: Tensor
    position: Tensor
    cache: Any

    def keep(self, which: Tensor) -> None:
        """Go on with some of the rows only."""
        self.state, self.mask = self.state[which], self.mask[which]
        self.position = self.position[..., which, :]
        self.cache.batch_select_indices(which)

    def read(self, lvlm: Any, tokens: Tensor) -> None:
        """Read one more token a row, (R,)."""
        self.mask = torch.cat((self.mask, self.mask.new_ones(len(tokens), 1)), dim=1)
        self.position = self.position + 1
        output = lvlm.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.position,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.state = output.last_hidden_state[:, -1]


def _continue(
    lvlm: Any, rows: _Rows, vocabulary: TokenIds, draws: Tensor, temperatures: Tensor
) -> tuple[list[Written], Tensor]:
    """Write until every row has ended or the length is used up; finished rows leave the batch."""
    count, longest = draws.shape
    ids = torch.full((count, longest), vocabulary.end, device=draws.device)
    log_probabilities = torch.zeros(count, longest, device=draws.device)
    seg_states = torch.zeros_like(rows.state)
    has_seg = torch.zeros(count, dtype=torch.bool, device=draws.device)
    active = torch.arange(count, device=draws.device)
    never = torch.tensor([vocabulary.image], device=draws.device)
    for step in range(longest):
        logits = lvlm.lm_head(rows.state).float()
        allowed = logits.index_fill(-1, never, -torch.inf)
        tokens = pick_tokens(allowed, draws[active, step], temperatures[active])
        ids[active, step] = tokens
        # Of what the model said: neither the temperature nor the ban on the placeholder is in it.
        log_probabilities[active, step] = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        ended = tokens == vocabulary.end
        # The state before [SEG]; at the end of a text without it, the state before where it would be appended.
        now = ~has_seg[active] & (ended | (tokens == vocabulary.seg))
        seg_states[active[now]] = rows.state[now]
        has_seg[active] |= now
        # After the last step only texts that still lack [SEG] have something to read: their own last token.
        going = (~ended & ~has_seg[active]) if step == longest - 1 else ~ended
        if not bool(going.all()):
            which = going.nonzero()[:, 0]
            active, tokens = active[which], tokens[which]
            rows.keep(which)
            if not len(which):
                break
        rows.read(lvlm, tokens)
    seg_states[active] = rows.state
    return _to_paths(ids, log_probabilities, vocabulary.end), seg_states


def _to_paths(ids: Tensor, log_probabilities: Tensor, end: int) -> list[Written]:
    paths = []
    for row, values in zip(ids.tolist(), log_probabilities, strict=True):
        complete = end in row
        length = row.index(end) + 1 if complete else len(row)
        paths.append(Written(row[: length - 1] if complete else row, float(values[:length].mean()), complete))
    return paths
