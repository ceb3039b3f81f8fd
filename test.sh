#!/usr/bin/env bash
# test.sh: builds everything and runs the tests (unit, integration with real Slurm and UCX, end to end).
# Installs missing Debian packages first. Arguments go to ctest, e.g. ./test.sh -R tokenizer or ./test.sh -L unit.
set -euo pipefail
cd "$(dirname "$0")"
.ci/install-packages build test serving-test slurm
cmake --preset release -DDSL_TESTS=ON -DDSL_BENCHMARKS=ON >/dev/null
cmake --build --preset release -- --quiet
exec ctest --test-dir build/release --output-on-failure --no-tests=error -j "$(nproc)" -LE 'long|rdma' "$@"
