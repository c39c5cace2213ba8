"""The published tokenizer with ``<image>`` and ``[SEG]`` as single ids.

LISA marks an image by a number outside the vocabulary; here it is a token like any other, added at the end.
"""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.errors import ModelError
from sim4seg.model.tokenizer import IMAGE_TOKEN


def lisa_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a published tokenizer and add ``<image>`` where it lacks it.

    Raises:
        ModelError: it cannot be read, or it has no ``[SEG]``, or splits it.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # whatever the library raises: a missing file, a missing package, bad JSON
        raise ModelError(
            f"the tokenizer cannot be read: {str(error).splitlines()[0][:200]}",
            where=str(folder),
            remedy="give the folder with tokenizer.json, or tokenizer.model and `pip install sentencepiece`; "
            "--tokenizer names another folder",
        ) from error
    if SEG_TOKEN not in tokenizer.get_vocab():
        raise ModelError(
            f"the tokenizer does not know {SEG_TOKEN}", where=str(folder), remedy="give the checkpoint's own tokenizer"
        )
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token
    for token in (SEG_TOKEN, IMAGE_TOKEN):
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ModelError(
                f"the tokenizer splits {token} into {len(ids)} ids: {ids}",
                where=str(folder),
                remedy="give a fast tokenizer (tokenizer.json) in which it is one added token, with --tokenizer",
            )
    return tokenizer
