#!/usr/bin/env bash
# End what start.sh FOLDER started.
cd "$1" || exit 0
export SLURM_CONF="$PWD/slurm.conf"
scancel --full --state=RUNNING --state=PENDING 2>/dev/null
for _ in $(seq 30); do # a node that goes first leaves its steps behind
    [ -z "$(squeue --noheader 2>/dev/null)" ] && break
    sleep 0.5
done
for pid in slurmd.pid slurmctld.pid munge/pid; do
    [ -f "$pid" ] && kill "$(cat "$pid")"
done
exit 0
