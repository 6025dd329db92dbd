#!/usr/bin/env bash
# Train on several devices and machines, through torchrun.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
# Without a GPU the processes run on the CPU through gloo.
set -euo pipefail
CONFIG=${1:?config file}
GPUS=${2:?number of processes on this machine}
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
exec torchrun \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$GPUS" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$root/tools/train.py" "$CONFIG" --launcher pytorch "$@"
