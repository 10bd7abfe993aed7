#!/usr/bin/env bash
# Every GPU benchmark in one command, for a machine without a network: see README.md beside this file.
#
#   bash benchmarks/gpu/all.sh [--seconds 480] [--out FOLDER] [--parts rehearsal levers ...] [--tiny]
#
# Installs the kit (made by `python -m benchmarks.gpu.kit`) beside the machine's own packages, into a folder of its own,
# then runs the parts. The time of the installation is part of --seconds.
set -u
started=$(date +%s.%N)
cd "$(dirname "$0")/../.." || exit 2
python=${PYTHON:-python3}
kit=${KIT:-$PWD/.gpu-kit}
site=$(mktemp -d "${TMPDIR:-/tmp}/gpu-site.XXXXXX") || exit 2
trap 'rm -rf "$site"' EXIT
if ls "$kit"/*.whl >/dev/null 2>&1; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --disable-pip-version-check --root-user-action=ignore --target "$site" "$kit"/*.whl || {
    # pip may be absent or old: a wheel is a zip file
    for wheel in "$kit"/*.whl; do "$python" -m zipfile -e "$wheel" "$site" || echo "$wheel was not installed" >&2; done
  }
else
  echo "no wheels in $kit: what is installed already is used" >&2
fi
# Our own version is read from the installed package's metadata.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
mkdir -p "$site/oneday_llm-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: oneday-llm\nVersion: %s\n' "$version" >"$site/oneday_llm-$version.dist-info/METADATA"

export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 WANDB_MODE=disabled
# With telemetry on and no network, Axolotl hangs at its end.
export AXOLOTL_DO_NOT_TRACK=1 DO_NOT_TRACK=1 TOKENIZERS_PARALLELISM=false
export PYTORCH_ALLOC_CONF=expandable_segments:True
cache=${TMPDIR:-/tmp}/gpu-cache
export HF_HOME="$cache/hf" TRITON_CACHE_DIR="$cache/triton" TORCHINDUCTOR_CACHE_DIR="$cache/inductor"
unset PYTHONDONTWRITEBYTECODE # the first import compiles, the later ones read
"$python" -m benchmarks.gpu.all --started "$started" --kit "$kit" "$@"
