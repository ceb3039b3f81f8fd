#!/usr/bin/env bash
# gpu.sh: builds, checks and measures the CUDA backend on a machine with a GPU, in one call of at most ten minutes.
#   gpu.sh --bundle       where our packages are installed: copies what the build needs of them to build/gpu-bundle
#   gpu.sh                where the GPU is: needs the CUDA toolkit, g++, cmake and python3, and no network
#   gpu.sh --build-only   compiles and needs no GPU
#   gpu.sh --pack         the same, and packs the programs as build/gpu-programs.tar.xz
#   gpu.sh --packed       where the GPU is: takes these in place of compiling, if they are of this tree and start there
#   gpu.sh --on-cpu       checks without a GPU: this machine's CPUs run the PTX that nvcc makes for Hopper (tests/ptx_device)
# Options: --arch N (a compute capability without its point, such as 90; default: that of the device), --jobs N,
# --out DIR (results as JSON and logs; default build/gpu-results), --archive FILE (the same packed, after every stage),
# --only STAGES (some of model,ops,transformers,tests,models,sanitizers,profile), --total SECONDS (default 575),
# --no-sanitizer, --no-transformers.
# Prints a table last. Exit codes: 0 all well; 1 a stage failed, the others ran all the same; 2 a wrong argument; 3
# something that it cannot do without is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
started=$SECONDS
total_seconds=575
reserve_seconds=25 # for the end of a stage that is stopped, the table and the archive
tree=$PWD
bundle=$tree/build/gpu-bundle
build=$tree/build/gpu
out=$tree/build/gpu-results
archive=
arch=
packed=$tree/build/gpu-programs.tar.xz
jobs=$(nproc)
only=
do_build_only=false
do_pack=false
do_unpack=false
do_on_cpu=false
do_sanitize=true
do_transformers=true
source tests/bench/gpu/programs.sh
source tests/bench/gpu/stages.sh

usage() {
  sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

missing() {
  echo "gpu.sh: $1" >&2
  exit 3
}

# Whether the call asked for this stage.
is_wanted() { [[ -z $only || ,$only, == *,$1,* ]]; }

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
    --archive) archive=${2:?}; shift ;;
    --only) only=${2:?}; shift ;;
    --total) total_seconds=${2:?}; shift ;;
    *) usage ;;
  esac
  shift
done
[[ -z $only || $only =~ ^((model|ops|transformers|tests|models|sanitizers|profile)(,|$))+$ ]] || usage
[[ $total_seconds =~ ^[0-9]+$ ]] || usage

nvcc=$(command -v nvcc || true)
[[ -n $nvcc ]] || nvcc=/usr/local/cuda/bin/nvcc
toolkit=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
export PATH=$PATH:$toolkit/bin

if $do_on_cpu; then
  [[ -z $arch || $arch == 90 ]] || missing "--on-cpu knows the instructions of sm_90a alone, not --arch $arch"
  arch=90
  build=$tree/build/ptx
elif [[ -z $arch ]]; then
  gpu=$(timeout 20 nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 || true)
  if [[ $gpu =~ ^[0-9]+\.[0-9]+$ ]]; then
    arch=${gpu/./}
  elif $do_build_only; then
    arch=90
  elif $do_unpack && [[ -f $packed ]]; then
    arch=90
    unnamed_gpu="no nvidia-smi names a GPU: taken for sm_90, as the packed programs are"
  else
    missing "no NVIDIA GPU here: nvidia-smi names none (--build-only compiles without, --arch says which there is)"
  fi
fi

mkdir -p "$out"
rm -f "$out"/*.{json,log,csv,txt,tsv,part,safetensors} "$out/switches"
failed=false
if [[ -n ${unnamed_gpu:-} ]]; then
  echo "gpu.sh: $unnamed_gpu" >&2
  printf 'device\tunnamed\t0\t%s\n' "$unnamed_gpu" >>"$out/stages.tsv"
fi

needs_build=true
if $do_unpack; then
  build=$tree/build/gpu-packed
  unpacked=0
  unpack >"$out/unpack.log" 2>&1 || unpacked=$?
  case $unpacked in
    0) needs_build=false ;;
    3) missing "$(tail -n 1 "$out/unpack.log")" ;;
    *)
      echo "gpu.sh: builds, as packed programs were not taken: $(tail -n 1 "$out/unpack.log")" >&2
      build=$tree/build/gpu
      ;;
  esac
fi
if $needs_build; then
  [[ -x $nvcc ]] || missing "no nvcc here: the CUDA toolkit is missing, or its bin folder is not in PATH"
  command -v cmake >/dev/null || missing "no cmake here"
  command -v g++ >/dev/null || missing "no g++ here"
fi

# The products of Hopper's warpgroups are for it alone.
[[ $arch != 90 ]] || arch=90a

build_seconds=240
jobs_on_device=$((jobs < 8 ? jobs : 8))
test_seconds=20
if $do_build_only || $do_on_cpu; then
  total_seconds=3600 # without a GPU to hold, on as few cores as there are
  build_seconds=3600
  test_seconds=300
fi
sanitizer=$(command -v compute-sanitizer || true)
[[ -n $sanitizer ]] || sanitizer=$toolkit/compute-sanitizer/compute-sanitizer
profiler=$(command -v ncu || compgen -G '/opt/nvidia/nsight-compute/*/ncu' | tail -n 1 || true)
export bundle build out jobs jobs_on_device nvcc arch do_on_cpu test_seconds sanitizer profiler
export -f configure_and_build each preflight kernel_tests model_tests model_tests_on_cpu rehearse sanitize sanitizers profile

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
  stage preflight 600 bash -uc preflight
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
if $needs_build; then
  timeout 60 "$build/bin/gpu_bench" --probe || exit 3
else
  tail -n 1 "$out/unpack.log"
fi

# What is timed comes first, while nothing else is on the device; what takes most of the time comes last.
watch_clocks
stage preflight 90 bash -uc preflight
if [[ -f $out/switches ]]; then
  while read -r switch; do export "${switch?}"; done <"$out/switches"
  printf 'switched off\t\t0\t%s\n' "$(paste -sd ' ' "$out/switches")" >>"$out/stages.tsv"
fi
! is_wanted model || stage model 150 "$build/bin/gpu_bench" --model --json "$out/model.json" \
  --logits "$out/logits.safetensors"
! is_wanted ops || stage ops 150 "$build/bin/gpu_bench" --ops --json "$out/ops.json"
if $do_transformers && is_wanted transformers; then
  stage transformers 100 env HF_HUB_OFFLINE=1 python3 tests/bench/gpu/transformers_bench.py \
    --logits "$out/logits.safetensors" --json "$out/transformers.json"
fi
! is_wanted tests || stage tests 90 bash -uc kernel_tests
! is_wanted models || stage models 120 bash -uc model_tests
if ! $do_sanitize || ! is_wanted sanitizers; then
  :
elif [[ -x $sanitizer ]]; then
  stage sanitizers 100 bash -uc sanitizers
else
  printf 'sanitizers\tskipped\t0\tno compute-sanitizer here\n' >>"$out/stages.tsv"
fi
if ! is_wanted profile; then
  :
elif [[ -n $profiler ]]; then
  stage profile 90 bash -uc profile
else
  printf 'profile\tskipped\t0\tno ncu here\n' >>"$out/stages.tsv"
fi
timeout 15 python3 tests/bench/gpu/table.py "$out" | tee "$out/table.txt" || failed=true
echo "$((SECONDS - started)) s in all; JSON and logs are in $out"
store_archive
! $failed
