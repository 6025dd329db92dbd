#!/usr/bin/env bash
# Evaluate under Slurm.
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# The variables that tools/common.sh reads say how many processes run where.
set -euo pipefail
PARTITION=${1:?partition}
JOB_NAME=${2:?name of the job}
CONFIG=${3:?config file}
CHECKPOINT=${4:?checkpoint}
shift 4
. "$(dirname "$0")/common.sh"
under_slurm "$PARTITION" "$JOB_NAME" test.py "$CONFIG" "$CHECKPOINT" "$@"
