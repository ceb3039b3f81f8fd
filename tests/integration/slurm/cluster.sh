#!/usr/bin/env bash
# A real Slurm cluster of four nodes on this machine, for tests. Root is needed.
#
#   cluster.sh run DIR            brings it up in DIR, prints "ready", lives until standard input ends, takes it down and
#                                 removes DIR (set DSL_TEST_KEEP_LOGS to keep its logs)
#   cluster.sh on DIR HOST CMD…   runs CMD on a host: ctl (login node and controller) or n1 … n4
#   cluster.sh crash DIR NODE     the node and everything on it dies; cluster.sh boot DIR NODE brings it back
#   cluster.sh stop DIR munged|slurmctld|slurmd-NODE ; cluster.sh start DIR …    one daemon
#   cluster.sh sweep              takes down clusters whose `run` was killed
#
# Each host has its own network, process, mount, IPC and UTS namespaces; the bridge between them lies in ctl's, so that
# parallel clusters see nothing of each other. Process tracking goes by process tree, not by cgroups: a host's processes
# end with its first process.
set -euo pipefail

nodes=4
net=10.77.0  # reused by every cluster: it exists inside its namespaces only

host_address() { if [[ $1 == ctl ]]; then echo "$net.1"; else echo "$net.$((10 + ${1#n}))"; fi; }
init_of() { cat "$dir/run/init-$1.pid"; }
use() {
  dir=$1
  prefix=$(cat "$dir/prefix")
  export SLURM_CONF=$dir/etc/slurm.conf
}

write_configuration() {
  mkdir -p "$dir"/{etc,log,run,state,spool,tmp,home}
  (umask 077 && head -c 128 /dev/urandom >"$dir/etc/munge.key")
  {
    echo "127.0.0.1 localhost"
    echo "$(host_address ctl) ctl"
    for i in $(seq $nodes); do echo "$(host_address n$i) n$i"; done
  } >"$dir/etc/hosts"
  cat >"$dir/etc/slurm.conf" <<CONF
ClusterName=dsltest
SlurmctldHost=ctl($(host_address ctl))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
SlurmctldTimeout=10
SlurmdTimeout=5
MessageTimeout=3
TCPTimeout=1
KillWait=3
UnkillableStepTimeout=10
BatchStartTimeout=10
ReturnToService=2
EnforcePartLimits=ALL
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=10000,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000
$(for i in $(seq $nodes); do
    echo "NodeName=n$i NodeAddr=$(host_address n$i) Feature=rack$(((i + 1) / 2)) Gres=gpu:test:2"
  done)
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=small Nodes=n1 MaxTime=30 DefaultTime=10 State=UP
PartitionName=closed Nodes=n4 State=DOWN
CONF
  # Slurm wants character devices behind GPUs; the null device will do.
  mknod -m 666 "$dir/etc/gpu0" c 1 3
  mknod -m 666 "$dir/etc/gpu1" c 1 3
  printf 'AutoDetect=off\nName=gpu Type=test File=%s/etc/gpu[0-1]\n' "$dir" >"$dir/etc/gres.conf"
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$dir/etc/cgroup.conf"
  chmod 755 "$dir" "$dir"/*
}

make_network() {
  ip netns add "$prefix-ctl"
  ip -n "$prefix-ctl" link set lo up
  ip -n "$prefix-ctl" link add br0 type bridge
  ip -n "$prefix-ctl" address add "$(host_address ctl)/24" dev br0
  ip -n "$prefix-ctl" link set br0 up
  local i
  for i in $(seq $nodes); do
    ip netns add "$prefix-n$i"
    ip -n "$prefix-n$i" link set lo up
    ip -n "$prefix-ctl" link add "v$i" type veth peer name eth0 netns "$prefix-n$i"
    ip -n "$prefix-ctl" link set "v$i" master br0 up
    ip -n "$prefix-n$i" address add "$(host_address n$i)/24" dev eth0
    ip -n "$prefix-n$i" link set eth0 up
  done
}

# boot HOST: the host's first process reaps what is orphaned; its death ends the host.
boot() {
  local host=$1
  rm -f "$dir/run/init-$host.pid" "$dir/run/booted-$host"
  launch "$dir/log/init-$host.log" nsenter --net="/run/netns/$prefix-$host" \
    unshare --uts --mount --ipc --pid --fork --mount-proc --propagation private \
    bash -c '
      hostname "$1"
      mount --bind "$2/etc/hosts" /etc/hosts
      mount -t tmpfs -o mode=1777 tmpfs /dev/shm
      echo booted >"$2/run/booted-$1"
      while :; do sleep 1000000 & wait $!; done' init "$host" "$dir"
  local outer=$! child=
  until [[ -s $dir/run/booted-$host ]]; do
    kill -0 $outer 2>/dev/null || { cat "$dir/log/init-$host.log" >&2; return 1; }
    sleep 0.01
  done
  child=$(cat "/proc/$outer/task/$outer/children")
  echo "${child%% *}" >"$dir/run/init-$host.pid"
}

enter() {  # enter HOST CMD…
  local host=$1
  shift
  nsenter -t "$(init_of "$host")" -n -u -m -p -i --wdns="$PWD" "$@"
}

start_daemon() {
  case $1 in
    munged)
      launch "$dir/log/munged.out" /usr/sbin/munged -F -f --key-file="$dir/etc/munge.key" \
        --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
        --seed-file="$dir/run/munged.seed" --num-threads=2
      wait_until munged test -S "$dir/run/munge.socket"
      ;;
    slurmctld)
      launch "$dir/log/init-ctl.log" nsenter -t "$(init_of ctl)" -n -u -m -p -i /usr/sbin/slurmctld -D ${2:-}
      wait_until slurmctld enter ctl scontrol ping
      ;;
    slurmd-n*)
      local node=${1#slurmd-}
      mkdir -p "$dir/spool/$node" "$dir/tmp/$node"
      launch "$dir/log/init-$node.log" nsenter -t "$(init_of "$node")" -n -u -m -p -i /usr/sbin/slurmd -D
      ;;
    *) echo "cluster.sh: unknown daemon $1" >&2; return 2 ;;
  esac
}

stop_daemon() {
  local host=ctl program=$1
  [[ $1 == slurmd-* ]] && host=${1#slurmd-} program=slurmd
  if [[ $1 == munged ]]; then
    kill_recorded "$dir/run/munged.pid" munged
    rm -f "$dir/run/munge.socket"
  else
    enter "$host" bash -c 'for p in /proc/[0-9]*; do
      [[ $(cat "$p/comm" 2>/dev/null) == "$1" ]] && kill -KILL "${p#/proc/}"; done; :' stop "$program"
  fi
}

kill_recorded() {  # kill_recorded PIDFILE NAME: a pid that now belongs to another program is left alone
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$2" ]] || return 0
  kill -KILL "$pid" 2>/dev/null || :
}

# In the background, in a session of its own, without the descriptor that keeps the cluster alive.
launch() {  # launch LOG CMD…
  local log=$1
  shift
  (
    if [[ -n ${keep:-} ]]; then exec {keep}<&-; fi
    exec setsid "$@" </dev/null >>"$log" 2>&1
  ) &
  disown
}

wait_until() {  # wait_until WHAT CMD…: at most 10 s
  local what=$1 end=$((SECONDS + 10))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { echo "cluster.sh: $what did not come up; see $dir/log" >&2; return 1; }
    sleep 0.02
  done
}

all_idle() { [[ $(enter ctl sinfo -h -p main -t idle -o %D) == "$nodes" ]]; }

up() {
  command -v munged slurmctld slurmd sinfo nsenter unshare ip >/dev/null ||
    { echo "cluster.sh: install the packages of group slurm in .ci/packages.txt" >&2; return 1; }
  write_configuration
  make_network
  start_daemon munged
  boot ctl
  start_daemon slurmctld -c
  local i
  for i in $(seq $nodes); do
    boot "n$i"
    start_daemon "slurmd-n$i"
  done
  wait_until "all nodes" all_idle
}

down() {
  local file name
  for file in "$dir"/run/init-*.pid; do [[ -e $file ]] && kill_recorded "$file" bash; done
  kill_recorded "$dir/run/munged.pid" munged
  for name in $(ip netns list | awk -v start="$prefix-" 'index($1, start) == 1 {print $1}'); do
    ip netns delete "$name" || :
  done
  rm -rf "$dir/run" "$dir/state" "$dir/spool" "$dir/tmp"
}

# A cluster is stale when the process that keeps it is gone (a reused pid has another start time).
start_ticks() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
sweep() {
  local record pid ticks folder
  for record in /run/dsl-slurm-test/*; do
    [[ -e $record ]] || continue
    read -r pid ticks folder <"$record"
    [[ $(start_ticks "$pid") == "$ticks" ]] && continue
    if [[ -e $folder/prefix ]]; then (use "$folder" && down) || :; fi
    rm -rf "$record" "$folder"
  done
}

case ${1:-} in
  run)
    sweep
    mkdir -p "$2" /run/dsl-slurm-test
    dir=$(realpath "$2")
    echo "dslt$$" >"$dir/prefix"
    use "$dir"
    echo "$$ $(start_ticks $$) $dir" >"/run/dsl-slurm-test/$$"
    trap 'down; rm -f "/run/dsl-slurm-test/$$"; [[ -n ${DSL_TEST_KEEP_LOGS:-} ]] || rm -rf "$dir"' EXIT
    trap 'exit 143' TERM INT HUP
    exec {keep}<&0  # the daemons do not inherit it
    up
    echo ready
    while read -r _ <&$keep; do :; done  # a builtin, so that a signal ends it
    ;;
  on) use "$2"; shift 2; enter "$@" ;;
  crash) use "$2"; kill_recorded "$dir/run/init-$3.pid" bash ;;
  boot) use "$2"; boot "$3"; start_daemon "slurmd-$3" ;;
  stop) use "$2"; stop_daemon "$3" ;;
  start) use "$2"; start_daemon "$3" ;;
  sweep) sweep ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
