#!/usr/bin/env bash
# The demo model at tp=2 x pp=2 over two virtual machines with RDMA: supervisor and stage 0 on machine 0, stage 1 on
# machine 1, started by agents as in a job.
#   world_test.sh answer|link-down|fallback PATH/TO/dslaunch PATH/TO/machines_world
# answer: rc_verbs between the machines, shared memory inside; several prompts at once get the tokens of one process on
# this machine.
# link-down: the link of machine 1 goes down in the middle of an answer; all ranks end with an error that names a rank.
# fallback: tcp beside RDMA is refused, and accepted with --allow-fallback.
set -euo pipefail
mode=${1:?usage: world_test.sh answer|link-down|fallback DSLAUNCH MACHINES_WORLD}
dslaunch=$(realpath "$2")
world=$(realpath "$3")
here=$(dirname "$(realpath "$0")")
model=$(realpath "$here/../../demo_model/arith-bf16")
# The emulated machines have no AVX-512; both sides must use one variant.
kernels=scalar
if grep -qw avx2 /proc/cpuinfo; then kernels=avx2; fi
prompts=("What is 47 + 85?" "What is 61 minus 30?" "请计算 93 - 21。")
answers=(132 31 72)
# Emulated machines may stand still for seconds (a message took more than 15 s once), so the failure deadline is not 5 s.
# When it is over, every rank has the news; 4 s more have ranks to be gone (docs/process-contract.md), and 3 s are for the
# emulation.
deadline_ms=30000
news_ms=$((deadline_ms + 3000)) end_ms=$((deadline_ms + 7000))
export RDMA_VM_SECONDS=${RDMA_VM_SECONDS:-360}

guest=$(cat <<'GUEST'
set -euo pipefail
export UCX_WARN_UNUSED_ENV_VARS=n
port=7077 # between the virtual machines only
mkdir -p /tmp/logs

cat >/usr/local/bin/on-all-machines <<STEP
#!/bin/bash
# Runs a command on both machines, as srun would; the other one's output comes back over the network.
{ echo "export DSLAUNCH_SECRET=\$DSLAUNCH_SECRET"; printf '%q ' "\$@"; echo; } >"$OUT/step.new"
busybox nc -l -p $port </dev/null &
remote=\$!
mv "$OUT/step.new" "$OUT/step"
"\$@" > >(tee /tmp/agent.log) &
local=\$!
trap 'kill \$local \$remote 2>/dev/null' TERM
while kill -0 \$local 2>/dev/null || kill -0 \$remote 2>/dev/null; do wait || true; done
STEP
chmod +x /usr/local/bin/on-all-machines

run_agent() { # machine 1: waits for the step and runs its part
  local i
  for ((i = 0; i < 600; i++)); do
    [[ -s $OUT/step ]] && break
    sleep 0.1
  done
  mv "$OUT/step" /tmp/step
  for ((i = 0; i < 100; i++)); do
    { exec 3<>"/dev/tcp/$PEER0/$port"; } 2>/dev/null && break
    sleep 0.1
  done
  # Machine 0 may hang up first, when it has ended the step; the log is whole all the same.
  bash /tmp/step | { tee -p /tmp/agent.log >&3 || true; }
  exec 3>&-
}
run_world() { # FLAGS... PROMPTS...: machine 0
  "$world" "$model" --machines vm0,vm1 --host "$PEER0" --step /usr/local/bin/on-all-machines --dslaunch "$dslaunch" \
    --logs /tmp/logs --deadline-ms $deadline_ms --kernels "$kernels" "$@"
}
complain() { # REASON: and what there is to see, of ranks that do not end too
  echo "$1"
  touch "$OUT/barrier.generating.$NODE" "$OUT/barrier.refused.$NODE" # the other machine need not wait
  tail -n +1 /tmp/world.log /tmp/agent.log /tmp/logs/* 2>/dev/null || true
  local process
  for process in $(ours_left); do tail -n +1 "/proc/$process"/{stat,task/*/stack} 2>/dev/null || true; done
  exit 1
}
ours_left() { # the processes of the world on this machine
  local process
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in dsengine | dslaunch) echo "${process#/proc/}" ;; esac
  done
}
wait_for_end() { # MS: until no process of the world is left here
  local end=$(($(milliseconds) + $1))
  while [[ -n $(ours_left) ]]; do
    (($(milliseconds) < end)) || complain "the world has not ended after $1 ms"
    sleep 0.1
  done
}
milliseconds() { date +%s%3N; }
expect_ends() { # CODE: of both ranks of this machine, and no signal
  [[ $(grep -c '"event":"exit"' /tmp/agent.log) == 2 ]] || complain "expected two ends of ranks"
  [[ $(grep -c "^{\"code\":$1,.*\"signal\":0" /tmp/agent.log) == 2 ]] || complain "expected two ends with code $1"
}

answer() {
  if [[ $NODE == 1 ]]; then
    run_agent
  else
    run_world --require-transport rc_verbs "${prompts[@]}" >/tmp/world.log 2>&1 || complain "the world failed"
    cat /tmp/world.log
  fi
  expect_ends 0
}

link_down() {
  local took
  if [[ $NODE == 1 ]]; then
    run_agent &
    vm-barrier generating
    ip link set eth0 down
    wait_for_end $end_ms
    expect_ends 5
    [[ $(tail -qn 1 /tmp/logs/rank-*.log | grep -cE 'DSL-20[01].*rank [0-9]') == 2 ]] || complain "an error names no rank"
  else
    run_world --require-transport rc_verbs --forever "${prompts[0]}" >/tmp/world.log 2>&1 &
    for ((i = 0; i < 3000; i++)); do
      grep -q '^generating$' /tmp/world.log && break
      [[ -e /proc/$! ]] || complain "the world failed"
      sleep 0.1
    done
    vm-barrier generating
    wait $! || complain "the world failed"
    wait_for_end $end_ms
    cat /tmp/world.log
    took=$(awk '/^ended after/ {print $3}' /tmp/world.log)
    ((took <= news_ms)) || complain "later than $news_ms ms"
    grep -qE '^ended after .*DSL-20[01].*rank [0-9]' /tmp/world.log || complain "no rank is named to the client"
    grep -qE '^verdict: DSL-20[01].*rank [0-9]' /tmp/world.log || complain "no rank is named by the supervisor"
    # The supervisor knows the cause then and may ask a rank of its machine to end before it has the news, and the agent
    # before it has reported an end: the ranks' own last lines count.
    tail -qn 1 /tmp/logs/rank-*.log | grep -qE 'error .*DSL-20[01].*rank [0-9]' ||
      complain "no rank of this machine ended with the error"
  fi
  tail -qn 1 /tmp/logs/rank-*.log
  ! grep -v '"signal":0' /tmp/agent.log || complain "a rank was ended by a signal"
}

fallback() {
  export UCX_TLS=tcp,sysv,self
  if [[ $NODE == 1 ]]; then
    run_agent
    vm-barrier refused
    run_agent
    expect_ends 0
    return
  fi
  ! run_world "${prompts[0]}" >/tmp/world.log 2>&1 || complain "tcp beside RDMA was not refused"
  cat /tmp/world.log
  grep -q 'DSL-205.*fell back to tcp.*although both hosts have active RDMA ports' /tmp/world.log ||
    complain "another error was expected"
  vm-barrier refused
  run_world --allow-fallback "${prompts[0]}" >/tmp/world.log 2>&1 || complain "the world failed"
  cat /tmp/world.log
  expect_ends 0
}
GUEST
)
output=$("$here/rdma_vm.sh" run 2 "
$(declare -p dslaunch world model kernels prompts deadline_ms news_ms end_ms)
$guest
${mode//-/_}
echo passed") && code=0 || code=$?
echo "$output"
((code == 0)) || exit "$code"
[[ $(grep -c '^passed$' <<<"$output") == 2 ]]

expect_links() { # TRANSPORT: of the eight directed links between the machines; the four others use shared memory
  [[ $(grep -cE "^link ([01] [23]|[23] [01]) $1 " <<<"$output") == 8 ]]
  [[ $(grep -cE '^link (0 1|1 0|2 3|3 2) shm' <<<"$output") == 4 ]]
}
expect_answers() { # of one process here
  local i json expected=() found
  for i in "$@"; do
    json=$("$dslaunch" generate "$model" --chat "${prompts[i]}" --kernels "$kernels" --threads 1 --json)
    expected+=("$(sed -E 's/.*"token_ids":\[([0-9,]*)\].*/tokens \1/' <<<"$json")")
  done
  found=$(grep '^tokens ' <<<"$output")
  diff <(printf '%s\n' "${expected[@]}") - <<<"$found"
  for i in "$@"; do grep -q "${answers[i]}" <<<"$output"; done
}
case $mode in
  answer) expect_links rc_verbs && expect_answers 0 1 2 ;;
  fallback) expect_links tcp && expect_answers 0 ;;
esac
