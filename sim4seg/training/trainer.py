"""transformers' Trainer, told how Sim4Seg's loss adds up over processes, how it is scored, and what to log."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl
from transformers.trainer_pt_utils import safe_globals

from sim4seg.digest import digest_json
from sim4seg.model.frames import pack_places, unpack_place
from sim4seg.model.losses import in_frame, iou_of
from sim4seg.model.modeling import Sim4SegForConditionalGeneration
from sim4seg.model.objective import weighted_sum
from sim4seg.training.checkpoints import write_origin
from sim4seg.training.global_batch import WholeStep
from sim4seg.training.lora import ONLY_ROW
from sim4seg.training.processes import Processes
from sim4seg.training.sample_order import ProcessBatches, SampleOrder, Share
from sim4seg.training.word_dropout import drop_words

LABELS = ("labels", "conclusion", "mask_labels")


class OrderedLoader(DataLoader[Any]):
    """A loader whose batch sampler is told the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """See :class:`ProcessBatches`."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class Sim4SegTrainer(Trainer):  # type: ignore[misc]
    """Trains alike on any number of processes, logs the loss parts, scores validation by teacher-forced gIoU."""

    def __init__(
        self,
        *args: Any,
        order: SampleOrder,
        share: Share,
        processes: Processes,
        word_dropout: float = 0.0,
        blank: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.order, self.share, self.processes = order, share, processes
        self.word_dropout, self.blank = word_dropout, blank
        # compute_loss below scales by itself; without this the Trainer would go by the model's signature.
        self.loss_is_scaled_for_ga = True
        self.part_sums: dict[str, float] = {}
        self.part_steps = 0

    def get_train_dataloader(self) -> OrderedLoader:  # noqa: D102  # documented by the base class
        return OrderedLoader(
            self.train_dataset,
            batch_sampler=ProcessBatches(
                self.order, self.share, self.processes.rank, places=self.train_dataset.augmentation is not None
            ),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_batch_samples(  # noqa: D102
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], WholeStep | None]:
        with self.processes.together():
            batches = list(islice(epoch_iterator, num_batches))
        self.part_steps += 1
        if self.share.step == self.share.micro:
            return batches, None
        return batches, WholeStep(self.model_inside, batches, self.processes, self.word_dropout, self.blank)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Where images lie goes in as bits: DeepSpeed and FSDP would round it to a pixel or two.

        That a batch is idle is for the counts of the step (:class:`WholeStep`), and nothing that the model takes.
        """
        prepared: dict[str, Any] = super()._prepare_inputs(pack_places(inputs))
        return {name: value for name, value in prepared.items() if name != "idle"}

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:  # noqa: D102
        parameters = dict(model.named_parameters())
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not hasattr(parameters.get(name), ONLY_ROW)]

    @property
    def model_inside(self) -> Sim4SegForConditionalGeneration:
        """The model without what a launcher wrapped around it."""
        inside: Sim4SegForConditionalGeneration = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return inside

    def compute_loss(  # noqa: D102
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: WholeStep | None = None,
    ) -> Any:
        step = num_items_in_batch
        if step is None:
            seg = self.model_inside.config.seg_token_id
            ids = drop_words(inputs, seg, self.blank, self.word_dropout)
            outputs = model(**{**inputs, "input_ids": ids})
            parts, loss = outputs.parts, outputs.loss
        else:
            fed = {**inputs, **step.inputs(inputs)}
            with self._own_draws(step.seen):
                outputs = model(**fed)
            parts = {name: part * step.share(step.seen - 1, name) for name, part in outputs.parts.items()}
            weights = self.model_inside.config.loss
            # The gradients of the processes are averaged; their losses are to be added.
            loss = self.share.world * weighted_sum(parts, weights)
        for name, value in parts.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + float(value.detach())
        return (loss, outputs) if return_outputs else loss

    @contextmanager
    def _own_draws(self, place: int) -> Iterator[None]:
        """Draws inside the model (dropout) from seeds of this process, so that the common generator stays common."""
        if self.share.world == 1:
            yield
            return
        seed = digest_json([self.args.seed, self.state.global_step, place, self.processes.rank])
        device = self.processes.device
        with torch.random.fork_rng([device] if device.type != "cpu" else [], device_type=device.type):
            torch.manual_seed(int(seed[:12], 16))
            yield

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:  # noqa: D102
        if "loss" in logs and self.part_steps:
            names = sorted(self.part_sums)
            sums = self.processes.sum(torch.tensor([self.part_sums[name] for name in names], dtype=torch.float64))
            logs |= {name: value / self.part_steps for name, value in zip(names, sums.tolist(), strict=True)}
            self.part_sums, self.part_steps = {}, 0
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Teacher-forced gIoU on the validation split in SAM's frame; the free-running score is `evaluate`'s."""
        model = (self.model_wrapped if self.is_deepspeed_enabled else self.model).eval()
        with torch.no_grad():
            scores = self._validation_scores(model)
        model.train()
        metrics = {"eval_giou": float(scores.double().mean())}
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_scores(self, model: Any) -> Tensor:
        """IoU of each validation image, (N,), the same on every process; each scores every ``world``-th batch."""
        size, count = self.args.train_batch_size, len(self.eval_dataset)
        batches = [list(range(start, min(start + size, count))) for start in range(0, count, size)]
        rank, world = self.processes.rank, self.processes.world
        # All make equally many passes: sharded models are put together pass by pass.
        own = [
            batches[at] if at < len(batches) else [0] for at in range(rank, -(-len(batches) // world) * world, world)
        ]
        loader = DataLoader(
            self.eval_dataset,
            batch_sampler=own,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
        )
        inputs = iter(loader)
        scores = []
        for _ in own:
            with self.processes.together():
                batch = next(inputs)
            scores.append(giou_terms(model, self._prepare_inputs(batch)))
        places = torch.tensor([row for batch in own for row in batch])
        every = torch.full((count,), torch.nan)
        for rows, values in zip(self.processes.gather(places), self.processes.gather(torch.cat(scores)), strict=True):
            every[rows] = values
        return every

    def _save_rng_state(self, output_dir: str) -> None:
        """One file for all: what they draw in common is drawn alike, what they draw on their own is seeded by step."""
        if self.args.should_save:
            super()._save_rng_state(output_dir)
            written = Path(output_dir) / f"rng_state_{self.processes.rank}.pth"
            if written.exists():
                written.rename(Path(output_dir) / "rng_state.pth")
            write_origin(Path(output_dir), self.processes.world, self.engine)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with safe_globals():
            state = torch.load(Path(checkpoint) / "rng_state.pth", weights_only=True, map_location="cpu")
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.random.set_rng_state(state["cpu"])
        if self.share.world == 1 and isinstance(state.get("cuda"), Tensor):
            torch.cuda.random.set_rng_state(state["cuda"])

    @property
    def engine(self) -> str:
        """What shares the work among the processes; a checkpoint can be read by the same only."""
        if self.is_deepspeed_enabled:
            return f"deepspeed-zero{self.accelerator.state.deepspeed_plugin.zero_stage}"
        return "fsdp" if self.is_fsdp_enabled else "plain"


def giou_terms(model: Sim4SegForConditionalGeneration, batch: dict[str, Tensor]) -> Tensor:
    """IoU of each image of a batch with labels, (B,) float32 on the CPU."""
    target = batch["mask_labels"]
    # Without labels no loss is computed, and no attention asked for.
    outputs = model(**{name: value for name, value in batch.items() if name not in LABELS})
    full, valid = in_frame(outputs.mask_logits, unpack_place(batch["sam_extent"]), target.shape[-1])
    return iou_of(full, target, valid).float().cpu()
