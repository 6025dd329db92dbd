#!/usr/bin/env bash
# Evaluate on several devices and machines, through torchrun.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# The variables that tools/common.sh reads spread it over machines.
# Without a GPU the processes run on the CPU through gloo.
set -euo pipefail
CONFIG=${1:?config file}
CHECKPOINT=${2:?checkpoint}
GPUS=${3:?number of processes on this machine}
shift 3
. "$(dirname "$0")/common.sh"
through_torchrun "$GPUS" test.py "$CONFIG" "$CHECKPOINT" "$@"
