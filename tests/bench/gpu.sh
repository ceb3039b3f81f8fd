#!/usr/bin/env bash
# gpu.sh: builds, checks and measures the CUDA backend on a machine with a GPU, in one call of at most ten minutes.
#   gpu.sh --bundle       where our packages are installed: copies what the build needs of them to build/gpu-bundle
#   gpu.sh                where the GPU is: needs the CUDA toolkit, g++, cmake and python3, and no network
#   gpu.sh --build-only   compiles and needs no GPU
#   gpu.sh --pack         the same, and packs the programs as build/gpu-programs.tgz
#   gpu.sh --packed       where the GPU is: takes these in place of compiling, if they are of this tree and start there
#   gpu.sh --on-cpu       checks without a GPU: this machine's CPUs run the PTX that nvcc makes for Hopper (tests/ptx_device)
# Options: --arch N (a compute capability without its point, such as 90; default: that of the device), --jobs N,
# --out DIR (results as JSON and logs; default build/gpu-results), --no-sanitizer, --no-transformers.
# Prints a table last. Exit codes: 0 all well; 1 a stage failed, the others ran all the same; 2 a wrong argument; 3
# something that it cannot do without is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
started=$SECONDS
total_seconds=585
tree=$PWD
bundle=$tree/build/gpu-bundle
build=$tree/build/gpu
out=$tree/build/gpu-results
arch=
packed=$tree/build/gpu-programs.tgz
jobs=$(nproc)
do_build_only=false
do_pack=false
do_unpack=false
do_on_cpu=false
do_sanitize=true
do_transformers=true

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

missing() {
  echo "gpu.sh: $1" >&2
  exit 3
}

make_bundle() {
  local name
  for name in fmt spdlog tl nlohmann; do
    [[ -d /usr/include/$name ]] || missing "no /usr/include/$name here: run .ci/install-packages build test first"
  done
  [[ -d /usr/src/googletest ]] || missing "no /usr/src/googletest here: run .ci/install-packages build test first"
  rm -rf "$bundle"
  mkdir -p "$bundle/include" "$bundle/googletest"
  for name in fmt spdlog tl nlohmann; do cp -rL "/usr/include/$name" "$bundle/include/"; done
  rm -rf "$bundle/include/spdlog/fmt/bundled"
  cp -r /usr/src/googletest/googletest/{include,src} "$bundle/googletest/"
  mkdir "$bundle/lib"
  cp "$(g++ -print-file-name=libpcre2-8.a)" "$bundle/lib/"
  cp /usr/include/pcre2.h "$bundle/include/"
  echo "$bundle: $(du -sh "$bundle" | cut -f1)"
}

# What the programs are made of, as one hash.
sources_hash() {
  find engine transport tests \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name CMakeLists.txt \) \
    -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

pack() {
  local folder
  folder=$(mktemp -d)
  mkdir "$folder/bin"
  local program
  for program in "$build"/bin/*; do strip -o "$folder/bin/${program##*/}" "$program"; done
  sources_hash >"$folder/sources"
  tar -czf "$packed" -C "$folder" bin sources
  rm -rf "$folder"
  echo "$packed: $(du -h "$packed" | cut -f1)"
}

# Fails where there is nothing packed, or other sources, or a GPU or system that the programs do not suit.
unpack() {
  [[ $arch == 90 && -f $packed ]] || { echo "not Hopper, or no $packed"; return 1; }
  rm -rf "$build"
  mkdir -p "$build"
  tar -xzf "$packed" -C "$build"
  [[ $(<"$build/sources") == "$(sources_hash)" ]] || { echo "$packed has the programs of other sources"; return 1; }
  if ldd "$build/bin/gpu_bench" | grep -q 'not found'; then
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$toolkit/lib64:$(python_library_path)
    export LD_LIBRARY_PATH
  fi
  timeout 60 "$build/bin/gpu_bench" --probe
}

# Folders where Python packages, such as PyTorch's, keep CUDA's libraries.
python_library_path() {
  python3 - <<'END' 2>/dev/null || true
import glob, os, sys
found = (path for place in sys.path for path in glob.glob(os.path.join(place, "nvidia", "*", "lib", "libcublasLt.so.*")))
print(":".join(sorted({os.path.dirname(path) for path in found})))
END
}

while (($#)); do
  case $1 in
    --bundle) make_bundle; exit 0 ;;
    --build-only) do_build_only=true ;;
    --pack) do_build_only=true do_pack=true arch=90 ;;
    --packed) do_unpack=true ;;
    --on-cpu) do_on_cpu=true ;;
    --no-sanitizer) do_sanitize=false ;;
    --no-transformers) do_transformers=false ;;
    --arch) arch=${2:?}; shift ;;
    --jobs) jobs=${2:?}; shift ;;
    --out) out=${2:?}; shift ;;
    *) usage ;;
  esac
  shift
done

nvcc=$(command -v nvcc || true)
[[ -n $nvcc ]] || nvcc=/usr/local/cuda/bin/nvcc
toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
export PATH=$PATH:$toolkit/bin

if $do_on_cpu; then
  [[ -z $arch || $arch == 90 ]] || missing "--on-cpu knows the instructions of sm_90a alone, not --arch $arch"
  arch=90
  build=$tree/build/ptx
elif [[ -z $arch ]]; then
  gpu=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 || true)
  if [[ $gpu =~ ^[0-9]+\.[0-9]+$ ]]; then
    arch=${gpu/./}
  elif $do_build_only; then
    arch=90
  else
    missing "no NVIDIA GPU here: nvidia-smi names none (--build-only compiles without)"
  fi
fi

mkdir -p "$out"
rm -f "$out"/*.json "$out"/*.log "$out/stages.tsv"
failed=false

needs_build=true
if $do_unpack; then
  build=$tree/build/gpu-packed
  if unpack >"$out/unpack.log" 2>&1; then
    needs_build=false
  else
    echo "gpu.sh: builds, as packed programs were not taken: $(tail -n 1 "$out/unpack.log")" >&2
    build=$tree/build/gpu
  fi
fi
if $needs_build; then
  [[ -x $nvcc ]] || missing "no nvcc here: the CUDA toolkit is missing, or its bin folder is not in PATH"
  command -v cmake >/dev/null || missing "no cmake here"
  command -v g++ >/dev/null || missing "no g++ here"
fi

# The products of Hopper's warpgroups are for it alone.
[[ $arch != 90 ]] || arch=90a

# stage NAME SECONDS COMMAND...: runs the command for at most so long, its output in NAME.log; others go on when it fails.
stage() {
  local name=$1 limit=$2 rc=0 begun=$SECONDS state=ok
  shift 2
  local left=$((total_seconds - (SECONDS - started)))
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
  return 0
}

configure_and_build() {
  local options=()
  [[ ! -d $bundle ]] || options+=(-DDSL_GPU_BUNDLE="$bundle")
  ! command -v ninja >/dev/null || options+=(-G Ninja)
  # Few cores compile the files of a library joined, as most of the time goes into headers; many compile them apart.
  ((jobs > 4)) || options+=(-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=16)
  if $do_on_cpu; then options+=(-DDSL_PTX_DEVICE=ON); else options+=(-DCMAKE_CUDA_ARCHITECTURES="$arch-real"); fi
  cmake -S tests/bench/gpu -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_COMPILER="$nvcc" "${options[@]}"
  cmake --build "$build" --parallel "$jobs"
}

# The tests in parts, side by side: most of their time is the reference's, on the CPU.
kernel_tests() {
  local parts=4 part rc=0 pids=()
  ! $do_on_cpu || parts=$jobs
  for ((part = 0; part < parts; ++part)); do
    GTEST_TOTAL_SHARDS=$parts GTEST_SHARD_INDEX=$part "$build/bin/gpu_kernels_test" --gtest_brief=1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || rc=1; done
  "$build/bin/cuda_device_test" --gtest_brief=1 || rc=1
  ((rc == 0)) && echo "all passed"
  return $rc
}

# Whole models on the GPU: the fixtures against the reference implementation, worlds of ranks that share the GPU against one
# rank, and the demo model's answers.
model_tests() {
  local rc=0
  DSL_PARITY_FIXTURES=all "$build/bin/gpu_parity_test" --gtest_brief=1 || rc=1
  "$build/bin/gpu_worlds_test" --gtest_brief=1 --gtest_filter='*LogitsHaveTheBits*/v3_fp8:*AtEverySplit/v2_lite*' || rc=1
  "$build/bin/gpu_demo_test" --gtest_brief=1 || rc=1
  ((rc == 0)) && echo "all passed"
  return $rc
}

# The same where the CPU is the device: some of the fixtures, and one model in worlds of ranks.
model_tests_on_cpu() {
  local rc=0 pids=()
  "$build/bin/gpu_parity_test" --gtest_brief=1 &
  pids+=($!)
  "$build/bin/gpu_worlds_test" --gtest_brief=1 --gtest_filter='*AtEverySplit/v2_lite*' &
  pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || rc=1; done
  "$build/bin/ptx_device_test" --gtest_brief=1 || rc=1
  ((rc == 0)) && echo "all passed"
  return $rc
}

# The whole way of the benchmark in small, of which times mean nothing.
rehearse() {
  local rc=0 pids=() part
  for part in ops model; do
    "$build/bin/gpu_bench" --rehearse "--$part" --json "$out/$part.json" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || rc=1; done
  python3 tests/bench/gpu/table.py "$out" || rc=1
  ((rc == 0)) && echo "no case failed"
  return $rc
}

# sanitize TOOL FILTER: the chosen tests under compute-sanitizer.
sanitize() {
  compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 5 "$build/bin/gpu_kernels_test" --gtest_brief=1 \
    --gtest_filter="$2"
}

# Where ptxas says that it waits after each product of warpgroups, these are far slower than they need be.
serialized_products() {
  grep -ho 'instructions are serialized due to .*' "$out/build.log" | sort -u
}

export -f configure_and_build kernel_tests model_tests model_tests_on_cpu rehearse sanitize
export bundle build out jobs nvcc arch do_on_cpu
build_seconds=240
if $do_build_only || $do_on_cpu; then
  total_seconds=3600 # without a GPU to hold, on as few cores as there are
  build_seconds=3600
fi
if $needs_build; then
  stage build "$build_seconds" bash -euc configure_and_build
else
  cp "$out/unpack.log" "$out/build.log"
fi
if $failed; then
  echo "gpu.sh: the build failed; its output is in $out/build.log" >&2
  exit 1
fi
if $do_on_cpu; then
  stage tests 1800 bash -uc kernel_tests
  stage models 1800 bash -uc model_tests_on_cpu
  stage bench 900 bash -uc rehearse
  cat "$out/stages.tsv"
  ! $failed
  exit
fi
serialized=$(serialized_products || true)
if [[ -n $serialized ]]; then
  printf 'products\tslow\t0\t%s\n' "wgmma $(head -n 1 <<<"$serialized" | cut -c1-80)" >>"$out/stages.tsv"
  echo "gpu.sh: this compiler waits after products of warpgroups: $serialized" >&2
fi
if $do_build_only; then
  [[ -z $serialized ]] || exit 1
  echo "built for sm_$arch in $((SECONDS - started)) s: $build"
  ! $do_pack || pack
  exit 0
fi
if ! "$build/bin/gpu_bench" --probe; then
  exit 3
fi

stage tests 120 bash -uc kernel_tests
stage models 120 bash -uc model_tests
stage ops 120 "$build/bin/gpu_bench" --ops --json "$out/ops.json"
stage model 120 "$build/bin/gpu_bench" --model --json "$out/model.json"
! $do_transformers || stage transformers 120 python3 tests/bench/gpu/transformers_bench.py --json "$out/transformers.json"
if $do_sanitize && command -v compute-sanitizer >/dev/null; then
  stage memcheck 60 bash -uc 'sanitize memcheck "*LinearTest.Linear*:*ExpertsTest*:*LargeScores*:*CudaSteps*:CudaAttention*"'
  stage racecheck 60 bash -uc 'sanitize racecheck "*ThreadsDoNotChangeLinears*:*SequencesOfABatch*:*ChoosesAs*"'
elif $do_sanitize; then
  printf 'sanitizer\tskipped\t0\tno compute-sanitizer here\n' >>"$out/stages.tsv"
fi
python3 tests/bench/gpu/table.py "$out"
echo "$((SECONDS - started)) s in all; JSON and logs are in $out"
! $failed
