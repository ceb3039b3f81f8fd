#!/usr/bin/env bash
# install_test.sh CMAKE BUILD MODEL HAS_SLURM: installs the build, moves the prefix away and uses what is in it.
set -euo pipefail
cmake=$1 build=$2 model=$3 has_slurm=$4
folder=$(mktemp -d)
export HOME=$folder/home XDG_STATE_HOME=
unset DSLAUNCH_ENGINE DSLAUNCH_GATEWAY DSLAUNCH_TEXT DSLAUNCH_SLURM_MODULE
prefix=$folder/elsewhere
finish() {
  DSLAUNCH_SLURM_MODULE=/nonexistent "$prefix/bin/dslaunch" down --all >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap finish EXIT
mkdir "$HOME"

fail() {
  echo "install_test: $1" >&2
  exit 1
}

"$cmake" --install "$build" --prefix "$folder/prefix" >"$folder/log" || fail "$(cat "$folder/log")"
mv "$folder/prefix" "$prefix"
cd "$folder"
for program in dslaunch dsengine dsgateway dstext; do
  "$prefix/bin/$program" --version >/dev/null || fail "$program does not start"
done

found=$("$prefix/bin/dslaunch" version --verbose --json)
grep -q '"engine":{"found":true' <<<"$found" || fail "the engine is not found: $found"
if ((has_slurm)); then
  grep -q 'client module for' <<<"$found" || fail "the Slurm client is not found: $found"
fi

# No cluster of this machine must be seen.
export DSLAUNCH_SLURM_MODULE=/nonexistent
"$prefix/bin/dslaunch" up "$model" --name installed --threads 1 --preprocess 1 >"$folder/log" 2>&1 ||
  fail "$(cat "$folder/log")"
answer=$("$prefix/bin/dslaunch" complete installed --prompt 'What is 47 + 85?' --max-tokens 4) || fail "no answer"
[[ -n $answer ]] || fail "an empty answer"
"$prefix/bin/dslaunch" down installed >/dev/null
