#!/usr/bin/env bash
# Evaluate on several devices and machines, through torchrun.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
# Without a GPU the processes run on the CPU through gloo.
set -euo pipefail
CONFIG=${1:?config file}
CHECKPOINT=${2:?checkpoint}
shift
GPUS=${2:?number of processes on this machine}
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
exec torchrun \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$GPUS" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$root/tools/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
