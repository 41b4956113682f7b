#!/usr/bin/env bash
# What a machine with one GPU can tell in nine minutes: run.sh [SECONDS]
#
# Needs an NVIDIA driver, the libraries of CUDA 13 (a toolkit's, or those that PyTorch brings) and Python 3, with torch and timm for the
# comparison. Leaves out/result.json and out/log.txt. TINY=1 does the same with as little work as possible.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
all=${1:-540}
out=${OUT:-$here/out}
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1

# What is not kept back for the result.
left() { echo $((all - 30 - SECONDS)); }
part() { printf '\n== %d s, %d left: %s\n' "$SECONDS" "$(left)" "$*"; }
# A command for so many seconds at the most; what came of it is kept by its name.
try() {
    local name=$1 seconds=$2
    shift 2
    [ "$seconds" -gt "$(left)" ] && seconds=$(left)
    [ "$seconds" -lt 1 ] && { echo "$name -1 0" >> "$out/parts.txt"; return; }
    local begun=$SECONDS
    timeout --signal=TERM --kill-after=20 "$seconds" "$@"
    echo "$name $? $((SECONDS - begun))" >> "$out/parts.txt"
}

part "setting up"
rm -rf "$out/parts.txt" "$out/curve.jsonl" "$out/runs" "$out"/bench-*.json
for file in "$here"/bin/*.gz; do
    name=$(basename "$file" .gz)
    gunzip -c "$file" > "$bin/$name" && chmod +x "$bin/$name"
done
mkdir -p "$bin/cifar" && for file in "$here"/cifar/*.gz; do gunzip -c "$file" > "$bin/cifar/$(basename "$file" .gz)"; done
# dfdx compiles some of its kernels when they are first used, and looks for headers where they were when it was built.
[ -f "$here/headers.tar.gz" ] && tar -xzf "$here/headers.tar.gz" -C / --skip-old-files
[ -f "$here/env.sh" ] && . "$here/env.sh"
for lib in libcublas.so.13 libcublasLt.so.13 libnvrtc.so.13; do
    [ -n "${EMULATED_HOME:-}" ] && break
    case "$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2> /dev/null)" in *"$lib"*) continue ;; esac
    found=$( (tr : '\n' <<< "${LD_LIBRARY_PATH:-}"; ls -d /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib; python3 -c 'import glob, sys; [print(d) for p in sys.path for d in glob.glob(p + "/nvidia/*/lib")]') 2> /dev/null |
        while read -r folder; do [ -n "$folder" ] && [ -e "$folder/$lib" ] && { echo "$folder"; break; }; done)
    [ -n "$found" ] && export LD_LIBRARY_PATH="$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" || echo "$lib was not found"
done
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader > "$out/gpu.txt" 2>&1 || true
cat "$out/gpu.txt"

if [ -n "${TINY:-}" ]; then
    models=("convit_micro 2 96") rounds=1 seconds=0.01 filter=tokens updates=devices::vit
else
    models=("convit_tiny_patch4_32 512 180" "deit_tiny_patch16_224 256 180") rounds=3 seconds=4 filter= updates=devices
fi
export INDUCTIVE_TEST_DEVICE=cuda

part "operations on the device"
try operations $((all / 6)) "$bin/operations" $filter --test-threads 1
part "training on the device"
try training $((all / 6)) "$bin/training" $updates --test-threads 1

part "the curve of a training, beside the CPU's"
try curve $((all / 8)) "$bin/inductive" train "$here/curve/recipe.toml" --data "cifar100:$bin/cifar" --out "$bin/curve" --device cuda --plain
cp "$bin/curve/metrics.jsonl" "$out/curve.jsonl"

peers=(alone)
python3 -c 'import torch, timm; assert torch.cuda.is_available()' 2> /dev/null && peers=(pytorch pytorch-compiled pytorch-amp)
for line in "${models[@]}"; do
    read -r model batch most <<< "$line"
    for peer in "${peers[@]}"; do
        part "$model, batch $batch, beside $peer"
        beside=()
        [ "$peer" = alone ] || beside=(--peer "$peer")
        try "bench-$model-$peer" "$most" "$bin/inductive" bench "$model" --batch "$batch" --mode train --device cuda --rounds $rounds \
            --seconds $seconds ${beside[@]+"${beside[@]}"} --json "$out/bench-$model-$peer.json" --plain
    done
done

part "Table 2 of ConViT, as far as the time goes"
if [ -z "${TINY:-}" ] && [ "$(left)" -gt 30 ]; then
    try table "$(left)" "$bin/inductive" reproduce convit --data "cifar100:$bin/cifar" --preset small --device cuda --runs "$out/runs" --plain
    find "$out/runs" -name '*.safetensors' -delete
fi

part "result"
python3 "$here/collect.py" "$here" "$out"
