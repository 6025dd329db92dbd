# How dist_*.sh and slurm_*.sh start processes.
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# through_torchrun PROCESSES TOOL [arguments]
#   NNODES, NODE_RANK, MASTER_ADDR, PORT   several machines: set on each
#   MAX_RESTARTS=3    when a process dies, all are started anew, up to three times, and go on from
#                     the newest checkpoint
#   RDZV_ENDPOINT=host:port, RDZV_ID       meet there instead, in any order; NNODES may be 2:4
#   LOCAL_ADDR        this machine's address, where it has several
through_torchrun() {
  local processes=$1 tool=$2 meet
  shift 2
  if [ -n "${RDZV_ENDPOINT:-}" ]; then
    meet=(--rdzv-backend=c10d --rdzv-endpoint="$RDZV_ENDPOINT" --rdzv-id="${RDZV_ID:-mmvitlin}")
  else
    meet=(--node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}"
          --master-port="${PORT:-29500}")
  fi
  exec torchrun --nnodes="${NNODES:-1}" --nproc-per-node="$processes" \
    --max-restarts="${MAX_RESTARTS:-0}" "${meet[@]}" ${LOCAL_ADDR:+--local-addr="$LOCAL_ADDR"} \
    "$tools/$tool" --launcher pytorch "$@"
}

# under_slurm PARTITION JOB_NAME TOOL [arguments]
#   GPUS=8, GPUS_PER_NODE=8, CPUS_PER_TASK=5, SRUN_ARGS='…'
#   GPUS_PER_NODE=0   asks for no GPU and runs GPUS processes on CPUs, TASKS_PER_NODE on a machine
under_slurm() {
  local partition=$1 job=$2 tool=$3 gpus=${GPUS:-8} gpus_per_node=${GPUS_PER_NODE:-8}
  local per_node=${TASKS_PER_NODE:-$gpus_per_node} ask=()
  shift 3
  if [ "$per_node" -le 0 ] || [ "$per_node" -gt "$gpus" ]; then per_node=$gpus; fi
  [ "$gpus_per_node" -eq 0 ] || ask=(--gres="gpu:$per_node")
  # shellcheck disable=SC2086
  exec srun -p "$partition" --job-name="$job" ${ask[@]+"${ask[@]}"} --ntasks="$gpus" \
    --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} python -u "$tools/$tool" --launcher slurm "$@"
}
