#!/usr/bin/env bash
# One machine: infra/train/node.sh [GPUS]. Through DVC, so that dvc.lock knows what was trained.
set -euo pipefail
export SIM4SEG_LAUNCH="torchrun --standalone --nproc-per-node ${1:-8}"
exec dvc repro train
