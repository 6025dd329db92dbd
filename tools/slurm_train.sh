#!/usr/bin/env bash
# Train under Slurm.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# The variables that tools/common.sh reads say how many processes run where.
set -euo pipefail
PARTITION=${1:?partition}
JOB_NAME=${2:?name of the job}
CONFIG=${3:?config file}
WORK_DIR=${4:?work directory}
shift 4
. "$(dirname "$0")/common.sh"
under_slurm "$PARTITION" "$JOB_NAME" train.py "$CONFIG" --work-dir "$WORK_DIR" "$@"
