# stages.sh: the stages of gpu.sh; sourced. Each is a function that bash runs in a process of its own, with $build, $out,
# $jobs, $toolkit and $test_seconds from the environment.

# stage NAME SECONDS COMMAND...: runs the command for at most so long, its output in NAME.log; others go on when it fails.
# What is needed after all stages is not taken from them.
stage() {
  local name=$1 limit=$2 rc=0 begun=$SECONDS state=ok
  shift 2
  local left=$((total_seconds - reserve_seconds - (SECONDS - started)))
  ((limit <= left)) || limit=$left
  if ((limit < 5)); then
    failed=true
    printf '%s\tleft out\t0\tno time left\n' "$name" >>"$out/stages.tsv"
    return
  fi
  echo "== $name (at most $limit s)"
  timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1 || rc=$?
  if ((rc != 0)); then
    failed=true
    state=FAILED
    tail -n 15 "$out/$name.log"
  fi
  case $rc in
    0) ;;
    124 | 137) state="ran out of time" ;;
  esac
  printf '%s\t%s\t%d\t%s\n' "$name" "$state" $((SECONDS - begun)) "$(tail -n 1 "$out/$name.log" | cut -c1-90)" \
    >>"$out/stages.tsv"
  store_archive
}

# What was found so far, whole at any moment: the call may be cut off.
store_archive() {
  [[ -z $archive ]] || { tar -czf "$archive.part" -C "$out" . && mv "$archive.part" "$archive"; }
}

# Clocks, power and why clocks are low, twice a second until the end of gpu.sh.
watch_clocks() {
  command -v nvidia-smi >/dev/null || return 0
  nvidia-smi --query-gpu=timestamp,clocks.sm,power.draw,clocks_event_reasons.active --format=csv,noheader,nounits \
    -lms 500 >"$out/clocks.csv" 2>&1 &
  trap "kill $! 2>/dev/null || true" EXIT
}

# each TEST...: all of them pass, each in a process of its own and in time.
each() {
  local test rc=0
  local -A pids=()
  for test in "$@"; do
    timeout -k 2 "$test_seconds" "$build/bin/gpu_kernels_test" --gtest_brief=1 --gtest_filter="$test" &
    pids[$test]=$!
  done
  for test in "$@"; do
    wait "${pids[$test]}" && continue
    rc=1
    echo "$test fails or hangs; DSL_WARPGROUPS=${DSL_WARPGROUPS:-on} DSL_DEPENDENT_LAUNCH=${DSL_DEPENDENT_LAUNCH:-on}"
  done
  return $rc
}

# Every device is opened with products of warpgroups, and every step starts kernels early: if one of these is wrong or
# hangs, all stages would find nothing else. It is found first, and switched off for them in $out/switches.
preflight() {
  local steps='CudaSteps.RepeatedStepsEqualCalledOnes' rc=0
  local products=('CudaBf16.Products*' 'CudaBf16.Attention*' 'CudaFp8.ProductsAre*')
  if ! DSL_WARPGROUPS=off each "$steps"; then
    rc=1
    if DSL_WARPGROUPS=off DSL_DEPENDENT_LAUNCH=off each "$steps"; then
      echo 'DSL_DEPENDENT_LAUNCH=off' >>"$out/switches"
      export DSL_DEPENDENT_LAUNCH=off
    fi
  elif ! DSL_WARPGROUPS=off DSL_DEPENDENT_LAUNCH=off each "$steps"; then
    rc=1
  fi
  if ! each "${products[@]}"; then
    rc=1
    if [[ -z ${DSL_DEPENDENT_LAUNCH:-} ]] && DSL_DEPENDENT_LAUNCH=off each "${products[@]}"; then
      echo 'DSL_DEPENDENT_LAUNCH=off' >>"$out/switches"
    else
      echo 'DSL_WARPGROUPS=off' >>"$out/switches"
    fi
  fi
  if ((rc == 0)); then
    echo "products of warpgroups and kernels that start early are right"
  elif [[ -f $out/switches ]]; then
    echo "for what follows: $(paste -sd ' ' "$out/switches")"
  else
    echo "steps are wrong however kernels start"
  fi
  return $rc
}

kernel_tests() {
  tests/bench/gpu/run_tests.py --jobs "$jobs_on_device" --seconds $((3 * test_seconds)) \
    --results "$out/tests.json" \
    "$build/bin/gpu_kernels_test" "$build/bin/cuda_device_test"
}

# Whole models on the GPU: the fixtures against the reference implementation, worlds of ranks that share the GPU against one
# rank, and the demo model's answers.
model_tests() {
  DSL_PARITY_FIXTURES=all tests/bench/gpu/run_tests.py --jobs "$jobs_on_device" --seconds 110 --results "$out/models.json" \
    "$build/bin/gpu_demo_test" "$build/bin/gpu_worlds_test=*LogitsHaveTheBits*/v3_fp8:*AtEverySplit/v2_lite*" \
    "$build/bin/gpu_parity_test"
}

# sanitize TOOL FILTER [OPTION...]: the chosen tests under compute-sanitizer, whatever preflight has switched off.
sanitize() {
  env -u DSL_WARPGROUPS -u DSL_DEPENDENT_LAUNCH tests/bench/gpu/run_tests.py --jobs "$jobs_on_device" --seconds 60 \
    --results "$out/$1.json" --under "$sanitizer --tool $1 --error-exitcode 9 --print-limit 5 ${*:3}" \
    "$build/bin/gpu_kernels_test=$2" >"$out/$1.log"
}

sanitizers() {
  # Some virtual machines keep the debugging interface from it.
  if "$sanitizer" --tool memcheck "$build/bin/gpu_bench" --probe 2>&1 | grep -qi 'not supported'; then
    echo "nothing was checked: compute-sanitizer does not support the device here"
    return 0
  fi
  local products='CudaBf16.AttentionOfWarpgroups*:CudaBf16.Products*:CudaFp8.ProductsAre*:*ExpertsTest*' rc=0 tool pids=()
  # Some of CudaSteps ask for errors of CUDA, which are none of memory.
  sanitize memcheck "$products:*LinearTest.Linear*:*LargeScores*:CudaSteps*:CudaAttention*:CudaTokenChoice.E*" \
    --report-api-errors no &
  pids+=($!)
  sanitize racecheck "$products:*ThreadsDoNotChangeLinears*:*SequencesOfABatch*:*ChoosesAs*:CudaTokenChoice.E*" &
  pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || rc=1; done
  for tool in memcheck racecheck; do echo "$tool: $(tail -n 1 "$out/$tool.log")"; done
  return $rc
}

# Each kernel of a prefill and of two decode steps: its time, and what it moved to and from memory.
profile() {
  "$profiler" --clock-control none --cache-control none --profile-from-start off --csv --page raw \
    --metrics gpu__time_duration.sum,dram__bytes.sum --log-file "$out/profile.csv" "$build/bin/gpu_bench" --steps
  echo "$(grep -c '^"[0-9]' "$out/profile.csv") kernels in profile.csv"
}

# Where there is no GPU: some of the fixtures, one model in worlds of ranks, and the device's own tests.
model_tests_on_cpu() {
  tests/bench/gpu/run_tests.py --jobs "$jobs_on_device" --seconds 900 --results "$out/models.json" \
    "$build/bin/gpu_worlds_test=*AtEverySplit/v2_lite*" "$build/bin/gpu_parity_test" "$build/bin/ptx_device_test"
}

# The whole way of the benchmark in small, of which times mean nothing.
rehearse() {
  local rc=0 pids=() part
  for part in ops model; do
    "$build/bin/gpu_bench" --rehearse "--$part" --json "$out/$part.json" --logits "$out/logits.safetensors" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || rc=1; done
  "$build/bin/gpu_bench" --rehearse --steps || rc=1
  python3 tests/bench/gpu/table.py "$out" || rc=1
  ((rc == 0)) && echo "no case failed"
  return $rc
}
