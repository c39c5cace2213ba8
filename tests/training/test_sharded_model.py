"""FSDP2 on two processes (gloo), with the layers that infra/train/fsdp2.yaml names: the loss and gradients of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHILD = """
import json, sys
from pathlib import Path
import torch, yaml
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from sim4seg.data.manifest import read_manifest
from sim4seg.training.dataset import Collator, SplitDataset
from sim4seg.training.processes import Processes, this_process
from sim4seg.training.train import starting_model
from sim4seg.training.train_paths import TrainPaths
from sim4seg.training.global_batch import WholeStep
from tests.settings import plain_loss, plain_train

data, config = Path(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
here = this_process()
params = plain_train(loss=plain_loss(align=1, attend=0.5))
model, processor = starting_model(1, params, TrainPaths(tokenizer=data / "out/tokenizer"))
rows = SplitDataset(read_manifest(data / "cot.parquet"), "train", data / "out/shards")

def backward(places, processes):
    batch = Collator(processor)([rows[place] for place in places])
    step = WholeStep(model, [batch], processes, 0.0, 0)
    parts = model(**{**batch, **step.inputs(batch)}).parts
    loss = processes.world * sum(model.config.loss[name] * part * step.share(0, name) for name, part in parts.items())
    loss.backward()
    return float(processes.sum(loss.detach()) / processes.world)

wanted = backward(range(4), Processes(0, 1, torch.device("cpu")))
grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
model.zero_grad()
layers = yaml.safe_load(config.read_text())["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"].split(",")
mesh = init_device_mesh("cpu", (2,))
for module in list(model.modules()):
    if type(module).__name__ in layers:
        fully_shard(module, mesh=mesh)
fully_shard(model, mesh=mesh)
found = backward((2 * here.rank, 2 * here.rank + 1), here)
most = max(float(grad.abs().max()) for grad in grads.values())
off = max(float((p.grad.full_tensor() - grads[n]).abs().max()) for n, p in model.named_parameters() if n in grads)
held, whole = (sum(f(p) for p in model.parameters()) for f in (lambda p: p.to_local().numel(), torch.numel))
if here.rank == 0:
    print(json.dumps({"wanted": wanted, "found": found, "off": off / most, "held": held / whole}))
"""


def test_sharded_weights_give_the_loss_and_gradients_of_whole_ones(data, tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", tmp_path / "child.py", data,
         root / "infra/train/fsdp2.yaml"],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert abs(said["found"] / said["wanted"] - 1) < 1e-5 and said["off"] < 1e-4
    assert said["held"] < 0.55, "each process holds half of the weights"
