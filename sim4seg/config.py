"""params.yaml as typed models: one section a stage, checked whole, every mistake reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim4seg.errors import ConfigError

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, values are not coerced silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(Section):
    """Shared by all stages."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 17
    workers: Annotated[int, Field(ge=0)] = 0
    """Worker processes of fetch, ingest and generate_cot; 0 = one for each core. Never changes an output."""


class PhantomCounts(Section):
    """Images painted for each of the ten sub-datasets."""

    train: Positive = 150
    val: Positive = 12
    test: Positive = 30
    size: Annotated[int, Field(ge=96, le=1024)] = 256
    """Length in pixels of the shorter side of a painted image; aspect ratios vary around it."""


class Fetch(Section):
    """Where raw data come from."""

    source: Literal["phantoms", "local", "s3"] = "phantoms"
    root: str = "raw"
    """Folder of the raw sub-datasets for ``source: local`` (may be a symbolic link), ``s3://bucket/prefix`` for
    ``source: s3``; the environment variable SIM4SEG_SOURCE_ROOT wins over it."""
    phantoms: PhantomCounts = PhantomCounts()


class SplitShares(Section):
    """Shares of groups for datasets (or parts) without an official split."""

    train: Fraction = 0.7
    val: Fraction = 0.1
    test: Fraction = 0.2

    @model_validator(mode="after")
    def _sum_is_one(self) -> SplitShares:
        if abs(self.train + self.val + self.test - 1.0) > 1e-6:
            raise ValueError(f"train + val + test must be 1, got {self.train + self.val + self.test:g}")
        return self


class Ingest(Section):
    """Raw files to Parquet shards and a manifest."""

    datasets: list[str] = []
    """Keys of the sub-datasets to read; empty = all that are found."""
    max_bad_fraction: Fraction = 0.02
    max_pixels: Positive = 64_000_000
    """An image that declares more pixels is refused before it is decoded."""
    max_side: Positive = 1024
    """Longer images are reduced to this (SAM sees no more than 1024)."""
    splits: SplitShares = SplitShares()
    near_duplicate_bits: Annotated[int, Field(ge=0, le=16)] = 4
    """Images whose 64-bit perceptual hashes differ in at most this many bits share a group."""
    shard_megabytes: Positive = 64
    vocabulary_size: Annotated[int, Field(ge=300, le=32_000)] = 1024
    """Size of the BPE vocabulary trained for presets without a tokenizer of their own."""


class GateData(Section):
    """Thresholds of the suite over the manifest."""

    min_rows: Positive = 20
    min_rows_per_split: Positive = 1
    max_mask_fraction: Fraction = 0.999
    max_empty_fraction: Fraction = 0.5
    """Largest share of samples without a lesion."""
    max_label_share: Fraction = 0.95
    """Largest share of one label over the whole manifest."""
    max_duplicate_fraction: Fraction = 0.0
    min_side: Positive = 32


class GenerateCot(Section):
    """Reasoning texts."""

    provider: str = "template"
    max_attempts: Positive = 3


class GateCot(Section):
    """Thresholds of the suite over the reasoning texts."""

    min_words: Positive = 25
    max_words: Positive = 400
    max_rejected_fraction: Fraction = 0.0
    """Largest share of texts that the critic still rejects after the last attempt."""


class Region(Section):
    """RVLS2M: how image-text similarity becomes SAM's mask prompt (paper: Model, RVLS2M)."""

    enabled: bool = True
    grid: Positive = 16
    top_n: Positive = 36

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

    text: Annotated[float, Field(ge=0)] = 1.0
    bce: Annotated[float, Field(ge=0)] = 2.0
    dice: Annotated[float, Field(ge=0)] = 0.5
    region: Annotated[float, Field(ge=0)] = 0.5
    iou: Annotated[float, Field(ge=0)] = 0.1
    align: Annotated[float, Field(ge=0)] = 0.0
    """Image features say the answer's words (sim4seg/model/alignment.py)."""
    align_reasoning: Annotated[float, Field(ge=0)] = 0.3
    align_conclusion: Annotated[float, Field(ge=0)] = 2.0
    """Shares of the reasoning's and the diagnosis' words in `align`."""
    attend: Annotated[float, Field(ge=0)] = 0.0
    """One head of each layer looks at the lesion while the answer is written (the same file)."""
    conclusion: Annotated[float, Field(gt=0)] = 4.0
    """How many times a token of the diagnosis counts in the text loss."""


PresetName = Literal[
    "tiny",
    "paper",
    "llava-1.5",
    "medsam",
    "qwen2.5-vl",
    "smol",
    "paper-small",
    "llava-1.5-small",
    "medsam-small",
    "qwen2.5-vl-small",
    "smol-small",
]
"""Of `sim4seg.model.presets.PRESETS`; written out so that a mistake is told with all others of the file."""


class Weights(Section):
    """Published weights that a preset starts from; on this machine already, nothing is fetched."""

    lvlm: str = ""
    """Folder of the LVLM or of a whole Sim4Seg model, or a Hub id that is in the local cache. Only for presets that
    start from published weights, as are the next two and `dtype`; refused for others."""
    lvlm_revision: str = ""
    """Commit of the Hub id; refused for a folder."""
    lvlm_sha256: str = ""
    """Digest of the folder (`sim4seg.digest.digest_directory`); empty = not checked. Checkpoints are resumed only with
    the weights that they began from, whether it is given or not."""
    sam: str = ""
    """SAM's or MedSAM's `.pth`, or the folder of a Sim4Seg model whose SAM has this preset's build."""
    sam_sha256: str = ""
    """Of the file, or the folder's digest; may be empty for a folder and for Meta's own files."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """In which frozen weights are held while the model is trained; what is trained is float32, since most updates are
    smaller than bfloat16's rounding. bfloat16 only with `lora` and where `bf16` computes in it."""


class Embed(Section):
    """SAM's image embeddings, computed once; only where its encoder is frozen."""

    enabled: bool = False
    batch_size: Positive = 8
    bf16: bool = False
    """Compute in bfloat16; the embeddings are stored in it in any case."""
    shard_images: Positive = 256
    """Images a file; a killed run loses at most so many."""
    max_gigabytes: Annotated[float, Field(gt=0)] = 100.0
    """The stage refuses to write more. SAM ViT-H: 2.1 MB an image."""


class Train(Section):
    """Training."""

    preset: PresetName = "tiny"
    weights: Weights = Weights()
    epochs: Annotated[float, Field(gt=0)] = 6
    batch_size: Positive = 16
    """Most samples that a process holds at once."""
    accumulation: Positive = 1
    """A step sees batch_size x accumulation samples, however many processes share them."""
    steps_per_epoch: Annotated[int, Field(ge=0)] = 0
    """Steps that are called an epoch (paper: 1000); 0 = every sample once."""
    sampling: Literal["proportional", "uniform"] | dict[str, Annotated[float, Field(gt=0)]] = "proportional"
    """Share of each sub-dataset in what is seen: by its size, all the same, or by the weights given."""
    group_by_length: bool = False
    """Texts of like length share a step: less padding, at the price of a little order in the shuffle."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read and resize images, for each training process; never changes a result."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What the learning rate does after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    """AdamW's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    word_dropout: Fraction = 0.0
    """Largest share of a reasoning's words that are disturbed in what the model is fed, not in what it must write."""
    bf16: Literal["auto", "on", "off"] = "off"
    attention: Literal["auto", "eager", "sdpa", "flash"] = "auto"
    """Kernels of the LVLM; auto = eager where ``loss.attend`` needs the attention, else transformers' choice."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back rather than keep them."""
    torch_compile: bool = False
    lora: bool = False
    checkpoints: Positive = 4
    """How often in a run a checkpoint is saved and the validation split scored; the best by gIoU is kept."""
    threads: Positive = 2
    """PyTorch threads; fixed because sums depend on it."""
    region: Region = Region()
    loss: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _attention_is_seen(self) -> Train:
        if self.loss.attend and self.attention in ("sdpa", "flash"):
            raise ValueError(f"loss.attend needs attention: eager (or auto); {self.attention} keeps it to itself")
        return self


class Tts(Section):
    """Test-time scaling (paper: m paths x n perturbations)."""

    paths: Positive = 2
    perturbations: Positive = 2
    temperature: Annotated[float, Field(gt=0)] = 0.7


class Evaluate(Section):
    """Scoring on the test split."""

    batch_size: Positive = 32
    max_new_tokens: Positive = 256
    threads: Positive = 2
    tts: Tts = Tts()


class Floors(Section):
    """A candidate below any of these is not promoted."""

    giou: Fraction = 0.0
    ciou: Fraction = 0.0
    acc: Fraction = 0.0


class Register(Section):
    """Model registry."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "sim4seg"
    floors: Floors = Floors()
    """Of every candidate, whether there is a champion or not."""
    beat_baselines: bool = True
    """A candidate must beat the centre prior in gIoU and the majority label in Acc."""
    margin: Fraction = 0.05
    """The 95 % interval of the difference to the champion, in mean gIoU, cIoU and Acc, must not reach below minus
    this. The paired interval of 300 cases is about 0.04 to either side, so a smaller margin refuses equal models."""
    subgroup_margin: Fraction = 0.2
    """No sub-dataset, modality or label may be worse than the champion by more than this (point estimate)."""
    subgroup_min: Positive = 20
    """Smaller subgroups are shown, not judged: a few cases more or less right would decide."""
    require_clean_commit: bool = False
    """Refuse versions that were made outside git, or while tracked files (dvc.lock among them) were not committed."""
    export: Annotated[str, Field(pattern=r"^(s3://[^/]+(/.*)?)?$")] = ""
    """s3://BUCKET/PREFIX to which each champion is copied; empty = nowhere. SIM4SEG_EXPORT wins over it."""


class Retrain(Section):
    """The scheduled flow, `flows.retrain`."""

    policy: Literal["auto", "approve"] = "auto"
    """auto = a candidate that meets the rules becomes champion; approve = somebody is asked first."""
    cron: str = "0 2 * * *"
    """When, if `flows.serve` is not told otherwise."""
    timezone: str = "UTC"
    stage_hours: Annotated[float, Field(gt=0)] = 24.0
    """A stage that runs longer is ended; the next run goes on where it was."""
    flow_hours: Annotated[float, Field(gt=0)] = 48.0
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    """Further tries of a step that met an outage (S3, MLflow, network); bad data are not tried again."""
    retry_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Before the first of them; doubled each time."""
    approval_days: Annotated[float, Field(gt=0)] = 14.0
    """How long an approval is waited for."""
    git_remote: str = ""
    """Where the branch `retrain/...` is pushed; empty = nowhere."""


class Params(Section):
    """The whole of params.yaml."""

    base: Base = Base()
    fetch: Fetch = Fetch()
    ingest: Ingest = Ingest()
    gate_data: GateData = GateData()
    generate_cot: GenerateCot = GenerateCot()
    gate_cot: GateCot = GateCot()
    embed: Embed = Embed()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(default=Register(), alias="register")
    retrain: Retrain = Retrain()


def _line_of(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """1-based line of the deepest node on ``path`` that exists in the composed document."""
    line = 1
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check the whole parameter file.

    Raises:
        ConfigError: the file is missing, is not YAML, or has mistakes; all of them are listed with their lines.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except OSError as error:
        raise ConfigError(
            f"cannot read the parameters: {error.strerror}",
            where=str(file),
            remedy="run from the project's folder, where params.yaml is",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where=str(file), remedy="mend the syntax") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        found = []
        for item in error.errors():
            keys = tuple(item["loc"])
            name = ".".join(str(key) for key in keys) or "(top level)"
            found.append(f"  line {_line_of(root, keys)}: {name}: {item['msg']} (got {item['input']!r})")
        raise ConfigError(
            f"{len(found)} mistake{'s' if len(found) > 1 else ''} in the parameters:\n" + "\n".join(sorted(found)),
            where=str(file),
            remedy="mend every line listed; sim4seg/config.py documents each key",
        ) from error
