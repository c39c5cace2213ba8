"""The files of infra/train: read by the programs they are for, and true of this project."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from sim4seg.config import Train, load_params
from sim4seg.errors import ConfigError
from sim4seg.training.arguments import training_arguments
from sim4seg.training.launch import relaunch
from sim4seg.training.order import SampleOrder, Share
from sim4seg.training.train import TrainPaths, starting_model

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
    params = Train.model_validate(yaml.safe_load((FOLDER / "params/8gpu.yaml").read_text())["train"])
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


def test_fsdp_wraps_layers_that_the_model_has(data):
    config = yaml.safe_load((FOLDER / "fsdp2.yaml").read_text())["fsdp_config"]
    model, _ = starting_model(1, Train(), TrainPaths(tokenizer=data / "out/tokenizer"))
    names = {type(module).__name__ for module in model.modules()}
    assert config["fsdp_version"] == 2
    assert set(config["fsdp_transformer_layer_cls_to_wrap"].split(",")) <= names


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_params_are_laid_over_and_give_the_paper_s_settings(gpus, tmp_path):
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    command = [sys.executable, FOLDER / "use_params.py", f"{gpus}gpu"]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    params = load_params(tmp_path / "params.yaml")
    train = params.train
    assert params.model_copy(update={"train": Train()}) == load_params(ROOT / "params.yaml").model_copy(
        update={"train": Train()}
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
