#!/usr/bin/env bash
# with_venv.sh FOLDER COMMAND…: runs COMMAND with the client packages of requirements.txt on its path.
# The virtual environment FOLDER is made once and again when requirements.txt changes. Exit code 77, with
# the reason, where it is missing and cannot be made: ctest counts the test as skipped.
set -euo pipefail
folder=$1
shift
requirements=$(dirname "$0")/requirements.txt

is_current() { cmp -s "$requirements" "$folder/installed.txt"; }

# Chained, because -e does not hold in a condition.
make_venv() {
  rm -rf "$folder" && python3 -m venv "$folder" &&
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --timeout 20 --retries 1 \
      -r "$requirements" &&
    cp "$requirements" "$folder/installed.txt"
}

if ! is_current; then
  mkdir -p "$(dirname "$folder")"
  exec 9>"$folder.lock"
  flock 9
  if ! is_current && ! problem=$(make_venv 2>&1); then
    rm -rf "$folder"
    echo "skipped: the client packages cannot be installed: ${problem##*$'\n'}"
    exit 77
  fi
  exec 9>&-
fi
PATH="$folder/bin:$PATH" exec "$@"
