#!/usr/bin/env bash
# demo.sh: builds dslaunch and lets the small DeepSeek-V3 model in this repository answer a question,
# split over 2 pipeline stages x 2 tensor shards. Installs missing Debian packages first. Arguments: your question.
set -euo pipefail
cd "$(dirname "$0")"
question=${*:-What is 47 + 85?}
.ci/install-packages build
[[ -f build/release/build.ninja ]] || cmake --preset release -DDSL_TESTS=OFF -DDSL_BENCHMARKS=OFF >build-configure.log 2>&1 || {
  cat build-configure.log >&2
  exit 1
}
rm -f build-configure.log
cmake --build --preset release --target dslaunch dsengine -- --quiet
echo "Q: $question"
build/release/bin/dslaunch generate tests/demo_model/arith-bf16 --tp 2 --pp 2 --threads 1 \
  --chat "$question" --max-tokens 200
