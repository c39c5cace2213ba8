"""The reasoning that is fed is disturbed; the question, the diagnosis and what is to be written never are."""

import torch

from sim4seg.training.word_dropout import drop_words

SEG, BLANK = 4, 0


def batch(rows: int = 64) -> dict[str, torch.Tensor]:
    """Prompt of three, an opening of two, [SEG], ten words of reasoning, a diagnosis of two, padding."""
    row = [9, 9, 9, 20, 21, SEG, *range(30, 40), 50, 51, BLANK]
    ids = torch.tensor([row] * rows)
    labels = ids.clone()
    labels[:, :3] = labels[:, -1] = -100
    conclusion = torch.zeros(ids.shape)
    conclusion[:, 16:18] = 1
    return {"input_ids": ids, "labels": labels, "conclusion": conclusion}


def test_only_the_reasoning_is_disturbed():
    torch.manual_seed(0)
    whole = batch()
    ids = drop_words(whole, SEG, BLANK, 1.0)
    changed = ids != whole["input_ids"]
    assert changed[:, 6:16].any() and not changed[:, :6].any() and not changed[:, 16:].any()
    assert whole["input_ids"][0, 6] == 30, "the batch itself stays"


def test_each_row_has_a_share_of_its_own_half_of_it_blank():
    torch.manual_seed(0)
    whole = batch(4000)
    # Every row has the same words, so that only blanks can be told from what was there.
    share = (drop_words(whole, SEG, BLANK, 0.8) == BLANK)[:, 6:16].float().mean(1)
    assert abs(float(share.mean()) - 0.2) < 0.02
    assert float((share == 0).float().mean()) > 0.2 and float(share.max()) >= 0.6


def test_swapped_words_are_the_neighbours_at_the_same_distance_from_seg():
    torch.manual_seed(0)
    first = [9, 9, 9, 20, SEG, 30, 31, 32, 50, BLANK]
    second = [9, 9, 20, SEG, 40, 41, 42, 43, 44, 50]
    ids = torch.tensor([first, second])
    labels, conclusion = ids.clone(), torch.zeros(ids.shape)
    labels[0, [0, 1, 2, 9]] = labels[1, [0, 1]] = -100
    conclusion[0, 8] = conclusion[1, 9] = 1
    allowed = [{5: (30, 40), 6: (31, 41), 7: (32, 42)}, {4: (40, 30), 5: (41, 31), 6: (42, 32), 7: (43,), 8: (44,)}]
    seen = set()
    for _ in range(200):
        found = drop_words({"input_ids": ids, "labels": labels, "conclusion": conclusion}, SEG, BLANK, 1.0)
        for row, places in enumerate(allowed):
            for place, words in places.items():
                assert int(found[row, place]) in (*words, BLANK)
                seen.add((row, place, int(found[row, place])))
        rest = [torch.tensor([p for p in range(10) if p not in places]) for places in allowed]
        assert all(torch.equal(found[row, rest[row]], ids[row, rest[row]]) for row in (0, 1))
    assert len(seen) == 3 * 3 + 3 * 3 + 2 * 2


def test_none_are_disturbed_and_nothing_is_drawn_at_strength_zero():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    whole = batch()
    assert drop_words(whole, SEG, BLANK, 0.0) is whole["input_ids"]
    assert torch.equal(before, torch.get_rng_state())
