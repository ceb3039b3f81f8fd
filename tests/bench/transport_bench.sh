#!/usr/bin/env bash
# The wire beside ucx_perftest over shared memory and TCP, measured in turns on the same machine; both keep their two
# processes on cores 0 and 1.
#   transport_bench.sh PATH/TO/transport_bench [ROUNDS]
# Prints medians over ROUNDS (at least 7) and the ratios that issue 2 bounds: latency <= 1.5, bandwidth >= 0.8.
set -euo pipefail
bench=${1:?usage: transport_bench.sh PATH/TO/transport_bench [ROUNDS]}
rounds=${2:-7}
((rounds >= 7)) || rounds=7
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# perftest TEST BYTES COUNT: the last line of ucx_perftest's client
perftest() {
  local port server
  port=$(free_port)
  taskset -c 1 ucx_perftest -p "$port" >/dev/null 2>&1 &
  server=$!
  for _ in $(seq 50); do
    if taskset -c 0 ucx_perftest 127.0.0.1 -p "$port" -t "$1" -s "$2" -n "$3" -w 50 -f >"$work/perftest" 2>/dev/null &&
      grep -qE '^ +[0-9]+ ' "$work/perftest"; then
      break
    fi
    sleep 0.1
  done
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  grep -E '^ +[0-9]+ ' "$work/perftest" | tail -1
}

median() { sort -g "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

measure() { # NAME UCX_TLS
  export UCX_TLS=$2
  : >"$work/ucx_latency"; : >"$work/ucx_bandwidth"; : >"$work/our_latency"; : >"$work/our_bandwidth"
  for _ in $(seq "$rounds"); do
    perftest tag_lat 16384 1000 | awk '{print $2}' >>"$work/ucx_latency"
    "$bench" 7 pair >"$work/ours"
    awk '/latency_16k_us/ {print $2}' "$work/ours" >>"$work/our_latency"
    awk '/bandwidth_1m_mb_s/ {print $2}' "$work/ours" >>"$work/our_bandwidth"
    # ucx_perftest counts MB of 2^20 bytes
    perftest tag_bw 1048576 300 | awk '{print $6 * 1.048576}' >>"$work/ucx_bandwidth"
  done
  transport=$(awk '/^transport/ {print $2}' "$work/ours")
  printf '%s %s %s %s %s\n' "$1 $transport" "$(median "$work/our_latency")" "$(median "$work/ucx_latency")" \
    "$(median "$work/our_bandwidth")" "$(median "$work/ucx_bandwidth")" |
    awk '{printf "%-4s %-10s 16 KiB one way %8.2f us (ucx_perftest %8.2f, ratio %.2f)   1 MiB %7.0f MB/s (ucx_perftest %7.0f, ratio %.2f)\n",
          $1, $2, $3, $4, $3 / $4, $5, $6, $5 / $6}'
}

measure shm posix,sysv,cma,self
measure tcp tcp,self
unset UCX_TLS
"$bench" "$rounds" reduce
