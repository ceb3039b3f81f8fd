#!/usr/bin/env bash
# Two ranks in two network namespaces over TCP: data arrive intact, and a link that is cut in the middle of a stream is
# an error on both sides within the failure deadline.
#   network_test.sh PATH/TO/transport_peer        needs root and iproute2; exits 77 when they are missing
set -euo pipefail
peer=${1:?usage: network_test.sh PATH/TO/transport_peer}
limit_ms=6000 # failure deadline of transport_peer and a second of grace

a=dsl-a-$$ b=dsl-b-$$
if [[ $(id -u) != 0 ]] || ! command -v ip >/dev/null || ! ip netns add "$a" 2>/dev/null; then
  echo "skipped: cannot make network namespaces here"
  exit 77
fi
work=$(mktemp -d)
cleanup() {
  exec 9>&- || true
  jobs -p | xargs -r kill 2>/dev/null || true
  wait || true
  ip netns del "$a" || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ip netns add "$b"
ip link add va netns "$a" type veth peer name vb netns "$b"
ip -n "$a" addr add 10.231.0.1/24 dev va
ip -n "$b" addr add 10.231.0.2/24 dev vb
for each in "$a lo" "$a va" "$b lo" "$b vb"; do
  read -r space device <<<"$each"
  ip -n "$space" link set "$device" up
done

wait_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || { echo "timed out: $*"; cat "$work"/*.log; return 1; }
    sleep 0.05
  done
}
link_is_up() { ip -n "$1" link show dev "$2" | grep -q 'state UP'; }
wait_for 10 link_is_up "$a" va
wait_for 10 link_is_up "$b" vb

start_world() { # MODE: two ranks and their rendezvous; sets rank_a and rank_b
  rm -f "$work"/address
  mkfifo "$work/$1.control"
  ip netns exec "$a" "$peer" serve 10.231.0.1 2 "$work/address" <"$work/$1.control" >"$work/server.log" 2>&1 &
  exec 9>"$work/$1.control"
  wait_for 10 test -s "$work/address"
  address=$(<"$work/address")
  UCX_TLS=tcp,self ip netns exec "$a" "$peer" rank 0 2 "$address" "$1" tcp >"$work/$1.a.log" 2>&1 &
  rank_a=$!
  UCX_TLS=tcp,self ip netns exec "$b" "$peer" rank 1 2 "$address" "$1" tcp >"$work/$1.b.log" 2>&1 &
  rank_b=$!
}

echo "-- data over TCP between two namespaces"
start_world check
wait "$rank_a" && wait "$rank_b" || { tail -n +1 "$work"/*.log; exit 1; }
grep -h '^link' "$work"/check.*.log
grep -q '^link 1 tcp va$' "$work/check.a.log"
grep -q '^link 0 tcp vb$' "$work/check.b.log"
exec 9>&-

echo "-- link cut in the middle of a stream"
start_world stream
wait_for 20 grep -q streaming "$work/stream.a.log"
wait_for 20 grep -q streaming "$work/stream.b.log"
ip -n "$b" link set vb down
wait "$rank_a" && wait "$rank_b" || { tail -n +1 "$work"/*.log; exit 1; }
for side in a b; do
  line=$(grep '^ended after' "$work/stream.$side.log")
  echo "$side: $line"
  took=$(awk '{print $3}' <<<"$line")
  ((took <= limit_ms)) || { echo "later than $limit_ms ms"; exit 1; }
done
grep -q 'DSL-20[01].*rank 1' "$work/stream.a.log"
grep -qE 'DSL-20[01].*(rendezvous server|rank 0)' "$work/stream.b.log"
echo "passed"
