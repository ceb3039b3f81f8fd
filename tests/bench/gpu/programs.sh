# programs.sh: how gpu.sh comes by its programs; sourced. Uses $tree, $bundle, $build, $out, $packed, $arch, $jobs, $nvcc
# and $toolkit.

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
  # All programs have the same kernels: with a window over all of them these are stored once.
  tar -c -C "$folder" bin sources | xz --lzma2=preset=6,dict=192MiB >"$packed"
  rm -rf "$folder"
  echo "$packed: $(du -h "$packed" | cut -f1)"
}

# 1 where there is nothing packed, or other sources, or a system that the programs do not suit; 3 where there is no GPU
# that CUDA can use.
unpack() {
  [[ $arch == 90 && -f $packed ]] || { echo "not Hopper, or no $packed"; return 1; }
  rm -rf "$build"
  mkdir -p "$build"
  # Python has what tar needs a program for.
  tar -xf "$packed" -C "$build" || python3 -m tarfile -e "$packed" "$build" || return 1
  [[ $(<"$build/sources") == "$(sources_hash)" ]] || { echo "$packed has the programs of other sources"; return 1; }
  local rc=0
  timeout 60 "$build/bin/gpu_bench" --probe || rc=$?
  ((rc == 0 || rc == 3)) || { echo "the packed programs do not start here: exit code $rc"; return 1; }
  return $rc
}

# Folders where Python packages, such as PyTorch's, keep CUDA's libraries.
python_library_path() {
  python3 - <<'END' 2>/dev/null || true
import glob, os, sys
found = (path for place in sys.path for path in glob.glob(os.path.join(place, "nvidia", "*", "lib", "libcublasLt.so.*")))
print(":".join(sorted({os.path.dirname(path) for path in found})))
END
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

# Where ptxas says that it waits after each product of warpgroups, these are far slower than they need be.
serialized_products() {
  grep -ho 'instructions are serialized due to .*' "$out/build.log" | sort -u
}
