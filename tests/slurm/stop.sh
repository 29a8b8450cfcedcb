#!/usr/bin/env bash
# End what start.sh FOLDER started.
cd "$1" || exit 0
export SLURM_CONF="$PWD/slurm.conf"
scancel --full --state=RUNNING --state=PENDING 2>/dev/null
for pid in slurmd.pid slurmctld.pid munge/pid; do
    [ -f "$pid" ] && kill "$(cat "$pid")"
done
exit 0
