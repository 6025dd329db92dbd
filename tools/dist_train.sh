#!/usr/bin/env bash
# Train on several devices and machines, through torchrun.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
# MAX_RESTARTS=3: when a process dies, all are started anew, up to three times, and go on from the
# newest checkpoint. RDZV_ENDPOINT=host:port meets there instead, in any order, and NNODES may be a
# range such as 2:4; RDZV_ID tells jobs on one host apart.
# Without a GPU the processes run on the CPU through gloo.
set -euo pipefail
CONFIG=${1:?config file}
GPUS=${2:?number of processes on this machine}
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -n "${RDZV_ENDPOINT:-}" ]; then
  meet=(--rdzv-backend=c10d --rdzv-endpoint="$RDZV_ENDPOINT" --rdzv-id="${RDZV_ID:-mmvitlin}")
else
  meet=(--node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}"
        --master-port="${PORT:-29500}")
fi
exec torchrun \
    --nnodes="${NNODES:-1}" --nproc-per-node="$GPUS" --max-restarts="${MAX_RESTARTS:-0}" \
    "${meet[@]}" ${LOCAL_ADDR:+--local-addr="$LOCAL_ADDR"} \
    "$root/tools/train.py" "$CONFIG" --launcher pytorch "$@"
