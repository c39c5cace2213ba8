"""What a named model is: a configuration for a vocabulary, and what it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from sim4seg.cot.contract import SEG_TOKEN
from sim4seg.model.configuration import Sim4SegConfig
from sim4seg.model.frames import Frames


@dataclass(frozen=True)
class TokenVocabulary:
    """What a configuration needs of a tokenizer: number of ids, and the ids of control tokens."""

    size: int
    image: int
    seg: int
    bos: int | None
    eos: int
    pad: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, image_token: str) -> TokenVocabulary:
        """That of a tokenizer which holds ``[SEG]`` and ``image_token``."""
        image, seg = (tokenizer.convert_tokens_to_ids(token) for token in (image_token, SEG_TOKEN))
        return cls(len(tokenizer), image, seg, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)


TRAINED_WITH_ADAPTERS = ("lm_head", "embed_tokens", "projection", "segmenter.mask_decoder")
"""What is trained whole beside adapters (paper, Training)."""

Configure = Callable[[TokenVocabulary], tuple[Sim4SegConfig, Frames]]


@dataclass(frozen=True)
class Preset:
    """A named model.

    Attributes:
        configure: configuration and frames for a vocabulary.
        vocabulary: that of the published weights with ``[SEG]`` added, for building without a tokenizer; None for
            models that are trained from scratch with a tokenizer of their own.
        lvlm, sam: what to download where, in words, for ``train.weights.lvlm`` and ``train.weights.sam``; empty for
            a part that starts at random.
        identity_start: let the layers of the language model begin by adding nothing (from scratch only).
        trained: parts of names of the weights that are trained whole where ``train.lora`` freezes the rest.
        seg_row_only: of the word embeddings, train only the row of ``[SEG]``.
        frozen: parts of names of the weights that are never trained, adapters or not.
    """

    configure: Configure
    vocabulary: TokenVocabulary | None = None
    lvlm: str = ""
    sam: str = ""
    identity_start: bool = False
    trained: tuple[str, ...] = TRAINED_WITH_ADAPTERS
    seg_row_only: bool = False
    frozen: tuple[str, ...] = ()

    @property
    def pretrained(self) -> bool:
        """Whether its LVLM starts from published weights."""
        return bool(self.lvlm)
