#!/usr/bin/env bash
# Evaluate under Slurm.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS='…'] \
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# GPUS_PER_NODE=0 asks for no GPU and runs GPUS processes on CPUs, TASKS_PER_NODE on each machine.
set -euo pipefail
PARTITION=${1:?partition}
JOB_NAME=${2:?name of the job}
CONFIG=${3:?config file}
CHECKPOINT=${4:?checkpoint}
shift 4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
per_node=${TASKS_PER_NODE:-$GPUS_PER_NODE}
[ "$per_node" -gt 0 ] || per_node=$GPUS
[ "$per_node" -le "$GPUS" ] || per_node=$GPUS
root=$(cd "$(dirname "$0")/.." && pwd)
gres=()
[ "$GPUS_PER_NODE" -eq 0 ] || gres=(--gres="gpu:$per_node")
# shellcheck disable=SC2086
exec srun -p "$PARTITION" --job-name="$JOB_NAME" ${gres[@]+"${gres[@]}"} \
    --ntasks="$GPUS" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$root/tools/test.py" "$CONFIG" "$CHECKPOINT" --launcher slurm "$@"
