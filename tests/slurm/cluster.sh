#!/usr/bin/env bash
# A Slurm cluster on this machine alone, for the tests: two nodes with a processor and a stand-in
# for a GPU each. Everything lies in FOLDER; it needs no systemd and touches no other Slurm.
#   cluster.sh start FOLDER    afterwards: export SLURM_CONF=FOLDER/slurm.conf
#   cluster.sh stop FOLDER
set -euo pipefail
[ $# = 2 ] || { echo "usage: cluster.sh start|stop FOLDER" >&2; exit 2; }
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf
host=$(hostname -s)
port=$((20000 + RANDOM % 10000))   # so that two clusters may stand side by side

configure() {
    mkdir -p "$folder"/{state,n1,n2}
    head -c 128 /dev/urandom > "$folder/munge.key"
    chmod 600 "$folder/munge.key"
    # With cred_expire, KillWait and sched_interval a requeued job starts again after seconds
    # instead of minutes.
    cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
KillWait=2
SchedulerParameters=sched_interval=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 RealMemory=4000 Gres=gpu:1
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 RealMemory=4000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    # A GPU needs a device file; any will do.
    echo "Name=gpu File=/dev/null" > "$folder/gres.conf"
}

start() {
    configure
    # --force: a socket that only this user can reach is what a test wants.
    munged --force --socket "$folder/munge.socket" --key-file "$folder/munge.key" \
        --pid-file "$folder/munged.pid" --seed-file "$folder/munge.seed" \
        --log-file "$folder/munged.log"
    slurmctld
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 30); do
        [ "$(sinfo -h -N -t idle | wc -l)" = 2 ] && return
        sleep 1
    done
    echo "error: the nodes are not idle after 30 s; see $folder/*.log" >&2
    sinfo >&2
    return 1
}

stop() {
    scancel -u "$(id -un)" 2> /dev/null || true
    for name in n1 n2 slurmctld munged; do
        [ -f "$folder/$name.pid" ] || continue
        pid=$(cat "$folder/$name.pid")
        kill "$pid" || continue
        # slurmd now and then hangs while it shuts down.
        timeout 5 tail --pid="$pid" -f /dev/null || kill -9 "$pid"
    done
}

"$1"
