#!/bin/bash
# Trains with torchrun, on one machine or several: run it on each machine with the same arguments.
#
#   tools/launch/torchrun.sh recipe=hpsv2 scale=paper run.name=first data.train=/data/hpd/train
#   NODES=2 MASTER=node-0:29400 tools/launch/torchrun.sh recipe=hpsv2 scale=paper run.name=first
#
# NODES   machines that take part (default 1)
# DEVICES processes on each, one GPU each (default: as many as there are GPUs, else 1)
# MASTER  host:port of one of them, where they find each other (with NODES above 1)
# JOB     any word that all machines of this job and no other job use (with NODES above 1; default the run's name)
# PYTHON  interpreter of the environment that has rewardkit (default python)
#
# On one machine `rewardkit fit trainer.devices=8` does the same without torchrun, and its exit code says how the run
# ended; torchrun's is 1 whatever a rank's was. SIGTERM goes on to every rank, which finishes its step and saves; torchrun
# kills ranks that need more than 30 s for it. The same line again continues the run (resume=auto).

set -euo pipefail

nodes=${NODES:-1}
python=${PYTHON:-python}
name=""
for argument in "$@"; do
    case "$argument" in
        run.name=*) name=${argument#run.name=} ;;
    esac
done
if [ -z "$name" ]; then
    echo "error: give run.name=NAME: every rank has to find the same run" >&2
    exit 2
fi
if [ "$nodes" -gt 1 ] && [ -z "${MASTER:-}" ]; then
    echo "error: NODES=$nodes needs MASTER=HOST:PORT" >&2
    exit 2
fi
devices=${DEVICES:-$("$python" -c 'import torch; print(max(1, torch.cuda.device_count()))')}

if [ "$nodes" -eq 1 ]; then
    meeting=(--standalone)
else
    meeting=(--rdzv-backend=c10d --rdzv-endpoint="$MASTER" --rdzv-id="${JOB:-$name}")
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$python" -m torch.distributed.run "${meeting[@]}" --nnodes="$nodes" --nproc-per-node="$devices" \
    -m rewardkit fit "$@" resume=auto trainer.nodes="$nodes" trainer.devices="$devices"
