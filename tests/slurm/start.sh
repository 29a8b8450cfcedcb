#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: start.sh FOLDER. Everything lies in FOLDER; stop.sh ends it.
# Needs root, and Debian's slurm-wlm and munge.
set -euo pipefail
folder=$(realpath "$1")
cd "$folder"
host=$(hostname -s)
cores=$(getconf _NPROCESSORS_ONLN) # nproc would heed OMP_NUM_THREADS
chmod 755 .
mkdir -p state spool munge
chmod 711 munge
head -c 64 /dev/urandom > munge/key
chmod 600 munge/key
munged --force --key-file "$folder/munge/key" --socket "$folder/munge/socket" --log-file "$folder/munge/log" \
    --pid-file "$folder/munge/pid" --seed-file "$folder/munge/seed"
cat > slurm.conf <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=4000 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF="$folder/slurm.conf"
slurmctld
slurmd
for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then exit 0; fi
    sleep 0.5
done
echo "the node did not come up: $(sinfo --noheader 2>&1); $(tail -n 3 slurmctld.log slurmd.log)" >&2
exit 1
