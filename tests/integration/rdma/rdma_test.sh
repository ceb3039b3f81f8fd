#!/usr/bin/env bash
# The wire over real RDMA verbs between two virtual machines: data arrive over rc_verbs, ranks of one machine use shared
# memory, and a link that goes down in the middle of a stream is an error on both sides within the failure deadline.
#   rdma_test.sh PATH/TO/transport_peer
set -euo pipefail
peer=$(realpath "${1:?usage: rdma_test.sh PATH/TO/transport_peer}")
here=$(dirname "$(realpath "$0")")
failure_ms=15000 # emulated machines may stand still for seconds
limit_ms=$((failure_ms + 2000))

"$here/rdma_vm.sh" run 2 "peer='$peer' limit_ms=$limit_ms; export DSL_TEST_FAILURE_MS=$failure_ms; $(cat <<'GUEST'
set -eu
export UCX_WARN_UNUSED_ENV_VARS=n
start_world() { # NAME WORLD_SIZE: the rendezvous on machine 0
  if [[ $NODE == 0 ]]; then
    mkfifo "/tmp/$1.control"
    "$peer" serve "$PEER0" "$2" "$OUT/$1.address" <"/tmp/$1.control" &
    exec 9>"/tmp/$1.control"
  fi
  for ((i = 0; i < 600; i++)); do
    [[ -s $OUT/$1.address ]] && break
    sleep 0.1
  done
  address=$(cat "$OUT/$1.address")
}
expect_links() { # LOG LOCAL_PEER: one link inside the machine, two to the other machine
  grep -q "^link $2 shm" "$1"
  [[ $(grep -c '^link . rc_verbs rxe0:1$' "$1") == 2 ]]
  grep -q '^ok$' "$1"
}

echo "-- four ranks, two on each machine"
start_world four 4
"$peer" rank $((NODE * 2)) 4 "$address" check rdma >/tmp/first.log 2>&1 &
first=$!
"$peer" rank $((NODE * 2 + 1)) 4 "$address" check rdma >/tmp/second.log 2>&1 &
second=$!
wait $first && wait $second || { cat /tmp/first.log /tmp/second.log; exit 1; }
cat /tmp/first.log
expect_links /tmp/first.log $((NODE * 2 + 1))
expect_links /tmp/second.log $((NODE * 2))
vm-barrier four

echo "-- link down in the middle of a stream"
start_world stream 2
"$peer" rank "$NODE" 2 "$address" stream rdma >/tmp/stream.log 2>&1 &
rank=$!
for ((i = 0; i < 600; i++)); do
  grep -q streaming /tmp/stream.log && break
  sleep 0.1
done
vm-barrier streaming
[[ $NODE == 0 ]] || ip link set eth0 down
wait $rank || { cat /tmp/stream.log; exit 1; }
cat /tmp/stream.log
took=$(awk '/^ended after/ {print $3}' /tmp/stream.log)
[[ -n $took ]] && ((took <= limit_ms))
grep -qE 'DSL-20[01].*(rank 0|rank 1|rendezvous server)' /tmp/stream.log
echo "passed"
GUEST
)"
