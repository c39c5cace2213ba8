"""The files of infra/train: read by the programs they are for, and true of this project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from sim4seg.config.params import load_params
from sim4seg.config.train import Train
from sim4seg.errors import ConfigError
from sim4seg.model.presets import on_meta
from sim4seg.training.arguments import training_arguments
from sim4seg.training.relaunch import relaunch
from sim4seg.training.sample_order import SampleOrder, Share
from tests.settings import settings, shipped

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "infra/train"
ENGINES = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}


class Filled(HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):
    """transformers' rules over accelerate's reader: what the two make of each other where deepspeed is installed."""


@pytest.mark.parametrize("name", ENGINES)
def test_accelerate_reads_its_configurations(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == ENGINES[name] and config.num_processes == 8
    if name.startswith("zero"):
        assert (ROOT / config.deepspeed_config["deepspeed_config_file"]).is_file()


@pytest.mark.parametrize("stage", [2, 3])
def test_transformers_fills_every_auto_of_the_deepspeed_files(stage, tmp_path):
    params = settings(Train, **yaml.safe_load((FOLDER / "params/8gpu.yaml").read_text())["train"])
    share = Share(1, params.batch_size, 10)
    order = SampleOrder(["a"], [1], 1, "proportional", share.step, params.steps_per_epoch)
    arguments = training_arguments(1, params.model_copy(update={"bf16": "on"}), order, share, tmp_path)
    config = Filled.__new__(Filled)
    HfDeepSpeedConfig.__init__(config, str(FOLDER / f"zero{stage}.json"))
    config._dtype, config.mismatches = None, []
    config.trainer_config_process(arguments)
    filled = config.config
    assert "auto" not in str(filled) and filled["zero_optimization"]["stage"] == stage
    assert filled["train_micro_batch_size_per_gpu"] == 2 and filled["gradient_accumulation_steps"] == 10
    assert filled["train_batch_size"] == 20 and filled["gradient_clipping"] == 1.0 and filled["bf16"]["enabled"]


@pytest.mark.parametrize("preset", ["tiny", "paper-small", "medsam-small", "qwen2.5-vl-small", "smol-small"])
def test_fsdp_finds_the_layers_that_it_is_told_to_spread(preset):
    """By accelerate's own reading of file and command line, and its own search for the classes in the model."""
    told = dict(re.findall(r"^\| `([\w.-]+)` \| `([\w,]+)` \|$", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert sorted(told) == ["qwen2.5-vl", "smol"]
    names = told.get(preset.removesuffix("-small"))
    option = ["--fsdp_transformer_layer_cls_to_wrap", names] if names else []
    line = ["--config_file", str(FOLDER / "fsdp2.yaml"), *option, "-m", "stages.train"]
    chosen, *_ = _validate_launch_command(launch_command_parser().parse_args(line))
    assert (chosen.use_fsdp, chosen.fsdp_version) == (True, 2)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=chosen.fsdp_version,
        auto_wrap_policy=chosen.fsdp_auto_wrap_policy,
        transformer_cls_names_to_wrap=chosen.fsdp_transformer_layer_cls_to_wrap.split(","),
        reshard_after_forward=True,
    )
    model = on_meta(preset)
    plugin.set_auto_wrap_policy(model)
    spread = fsdp2_prepare_auto_wrap_policy(plugin, model)
    found = [name for name, module in model.named_modules() if spread(module)]
    sam = model.segmenter.image_encoder.blocks
    for part, wanted in (("language_model.layers", model.family.layers(model.lvlm)), ("image_encoder.blocks", sam)):
        assert sum(name.rpartition(".")[0].endswith(part) for name in found) == len(wanted), part
    in_vision = sum(name.startswith(("lvlm.model.vision_tower.", "lvlm.model.visual.")) for name in found)
    assert bool(in_vision) == (preset != "smol-small"), "smol's tower is no transformer"


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_params_are_laid_over_and_give_the_paper_s_settings(gpus, tmp_path):
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    command = [sys.executable, FOLDER / "use_params.py", f"{gpus}gpu"]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    params = load_params(tmp_path / "params.yaml")
    train = params.train
    assert params.model_copy(update={"train": shipped().train}) == load_params(ROOT / "params.yaml").model_copy(
        update={"train": shipped().train}
    )
    assert train.preset == "paper"
    share = Share.of(train.batch_size, train.accumulation, gpus)
    assert share.micro == 2 and share.accumulation == {1: 80, 8: 10, 64: 1}[gpus]
    assert share.step * train.steps_per_epoch == 160_000 and train.epochs == 4
    assert train.betas == (0.9, 0.95) and train.weight_decay == 0 and train.warmup_steps == 100 and train.lora
    assert (tmp_path / "params.yaml").read_text().startswith("# Everything that decides a result.")


def test_scripts_are_shell():
    for script in (FOLDER / "node.sh", FOLDER / "nodes.sbatch"):
        subprocess.run(["bash", "-n", script], check=True)


def test_a_launcher_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("SIM4SEG_LAUNCH", "no-such-launcher --nproc-per-node 2")
    with pytest.raises(ConfigError, match="cannot start no-such-launcher"):
        relaunch("stages.train")
    relaunch("stages.train")  # the variable is gone: nothing is started, and nothing starts itself for ever
