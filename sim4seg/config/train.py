"""Section ``train``: preset, weights, optimisation, regions, loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sim4seg.config.augment import Augment
from sim4seg.config.balance import Balance
from sim4seg.config.section import Fraction, Positive, Section


class Region(Section):
    """RVLS2M: how image-text similarity becomes SAM's mask prompt (paper: Model, RVLS2M)."""

    enabled: bool
    grid: Positive
    rule: Literal["top_n", "otsu", "mass", "soft"]
    """Which cells prompt SAM (sim4seg/model/region_rules.py); the paper's is `top_n`."""
    top_n: Positive
    """Cells of the rule `top_n`."""
    mass: Annotated[float, Field(gt=0, le=1)]
    """Share of the softmax that the rule `mass` chooses."""

    @model_validator(mode="after")
    def _top_n_fits(self) -> Region:
        if self.top_n > self.grid * self.grid:
            raise ValueError(f"top_n ({self.top_n}) exceeds the {self.grid}x{self.grid} cells")
        return self


class LossWeights(Section):
    """Weights of the training loss.

    All but the first three are ours, for training from scratch (docs/decisions.md); the paper's loss is
    the first three alone: 1, 2, 0.5, with ``conclusion`` 1 and the others 0.
    """

    text: Annotated[float, Field(ge=0)]
    bce: Annotated[float, Field(ge=0)]
    dice: Annotated[float, Field(ge=0)]
    region: Annotated[float, Field(ge=0)]
    iou: Annotated[float, Field(ge=0)]
    align: Annotated[float, Field(ge=0)]
    """Image features say the answer's words (sim4seg/model/alignment.py)."""
    align_reasoning: Annotated[float, Field(ge=0)]
    align_conclusion: Annotated[float, Field(ge=0)]
    """Shares of the reasoning's and the diagnosis' words in `align`."""
    attend: Annotated[float, Field(ge=0)]
    """One head of each layer looks at the lesion while the answer is written (the same file)."""
    conclusion: Annotated[float, Field(gt=0)]
    """How many times a token of the diagnosis counts in the text loss."""


PresetName = Literal[
    "tiny",
    "paper",
    "llava-1.5",
    "medsam",
    "qwen2.5-vl",
    "smol",
    "mobile",
    "paper-small",
    "llava-1.5-small",
    "medsam-small",
    "qwen2.5-vl-small",
    "smol-small",
    "mobile-small",
]
"""Of `sim4seg.model.presets.PRESETS`; written out so that a mistake is told with all others of the file."""


class Weights(Section):
    """Published weights that a preset starts from; on this machine already, nothing is fetched."""

    lvlm: str
    """Folder of the LVLM or of a whole Sim4Seg model, or a Hub id that is in the local cache. Only for presets that
    start from published weights, as are the next two and `dtype`; refused for others."""
    lvlm_revision: str
    """Commit of the Hub id; refused for a folder."""
    lvlm_sha256: str
    """Digest of the folder (`sim4seg.digest.digest_directory`); empty = not checked. Checkpoints are resumed only with
    the weights that they began from, whether it is given or not."""
    sam: str
    """SAM's or MedSAM's `.pth`, or the folder of a Sim4Seg model whose SAM has this preset's build."""
    sam_sha256: str
    """Of the file, or the folder's digest; may be empty for a folder and for Meta's own files."""
    dtype: Literal["float32", "bfloat16"]
    """In which frozen weights are held while the model is trained; what is trained is float32, since most updates are
    smaller than bfloat16's rounding. bfloat16 only with `lora` and where `bf16` computes in it."""


class Train(Section):
    """Training."""

    preset: PresetName
    weights: Weights
    epochs: Annotated[float, Field(gt=0)]
    batch_size: Positive
    """Most samples that a process holds at once."""
    accumulation: Positive
    """A step sees batch_size x accumulation samples, however many processes share them."""
    steps_per_epoch: Annotated[int, Field(ge=0)]
    """Steps that are called an epoch (paper: 1000); 0 = every sample once."""
    sampling: Literal["proportional", "uniform"] | dict[str, Annotated[float, Field(gt=0)]]
    """Share of each sub-dataset in what is seen: by its size, all the same, or by the weights given."""
    balance: Balance
    augment: Augment
    group_by_length: bool
    """Texts of like length share a step: less padding, at the price of a little order in the shuffle."""
    workers: Annotated[int, Field(ge=0)]
    """Processes that read and resize images, for each training process; never changes a result."""
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["linear", "cosine", "constant"]
    """What the learning rate does after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)]
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    """AdamW's."""
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    word_dropout: Fraction
    """Largest share of a reasoning's words that are disturbed in what the model is fed, not in what it must write."""
    bf16: Literal["auto", "on", "off"]
    attention: Literal["auto", "eager", "sdpa", "flash"]
    """Kernels of the LVLM; auto = eager where ``loss.attend`` needs the attention, else transformers' choice."""
    gradient_checkpointing: bool
    """Compute activations again on the way back rather than keep them."""
    torch_compile: bool
    lora: bool
    checkpoints: Positive
    """How often in a run a checkpoint is saved and the validation split scored; the best by gIoU is kept."""
    threads: Positive
    """PyTorch threads; fixed because sums depend on it."""
    region: Region
    loss: LossWeights

    @model_validator(mode="after")
    def _attention_is_seen(self) -> Train:
        if self.loss.attend and self.attention in ("sdpa", "flash"):
            raise ValueError(
                f"loss.attend needs attention: eager (or auto); {self.attention} does not return attention weights"
            )
        return self
