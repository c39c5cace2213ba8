"""A byte-level BPE tokenizer of our own for models trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from sim4seg.atomic import atomic_directory
from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.errors import ModelError

IMAGE_TOKEN = "<image>"
PROMPT_WORDS = ("USER:", "ASSISTANT:")


def train_tokenizer(texts: Iterable[str], size: int, out: Path) -> None:
    """Train a tokenizer and save it in Hugging Face form.

    Any text can be encoded (bytes are the fallback); ``<image>`` and ``[SEG]`` are single ids.

    Args:
        texts: training corpus; duplicates and order do not matter.
        size: number of ids.
        out: directory to write.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "<s>", "</s>", IMAGE_TOKEN, SEG_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # One sorted pass: counts, and so merges, cannot depend on the order in which texts arrived.
    tokenizer.train_from_iterator(sorted({*texts, *PROMPT_WORDS}), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=[IMAGE_TOKEN, SEG_TOKEN],
        clean_up_tokenization_spaces=False,
    )
    with atomic_directory(out) as partial:
        fast.save_pretrained(partial)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[str], where: str = "") -> None:
    """Make sure that each of ``tokens`` is one id.

    Raises:
        ModelError: the tokenizer splits one of them; training on it would silently learn nothing.
    """
    for token in tokens:
        ids = tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ModelError(
                f"the tokenizer splits {token} into {len(ids)} ids",
                where=where,
                remedy=f"add {token} as a special token and resize the model's embeddings",
            )


def load_tokenizer(directory: Path | str) -> PreTrainedTokenizerBase:
    """Load a tokenizer and make sure that ``[SEG]`` is one id; its image token is checked by the processor.

    Raises:
        ModelError: the tokenizer splits it.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(directory))
    check_tokenizer(tokenizer, (SEG_TOKEN,), str(directory))
    return tokenizer
