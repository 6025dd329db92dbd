#!/usr/bin/env bash
# Train on several devices and machines, through torchrun.
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# The variables that tools/common.sh reads spread it over machines.
# Without a GPU the processes run on the CPU through gloo.
set -euo pipefail
CONFIG=${1:?config file}
GPUS=${2:?number of processes on this machine}
shift 2
. "$(dirname "$0")/common.sh"
through_torchrun "$GPUS" train.py "$CONFIG" "$@"
