"""Makes one file, out/result.json, of what run.sh has left: collect.py PACK OUT."""

import json
import pathlib
import sys

pack, out = map(pathlib.Path, sys.argv[1:3])


def text(path):
    return path.read_text(errors="replace").strip() if path.is_file() else None


def lines(path):
    return [json.loads(line) for line in (text(path) or "").splitlines()]


def part(line):
    name, status, seconds = line.split()
    return {"name": name, "status": int(status), "seconds": int(seconds)}


def curve(path):
    return [{key: it[key] for key in ("step", "train_loss", "test_loss", "test_top1")} for it in lines(path)]


def bench(path):
    """Medians without every step's time."""
    found = json.loads(text(path) or "{}")
    for measurement in found.get("measurements", []):
        for side in ("inductive", "pytorch"):
            if measurement.get(side):
                measurement[side].pop("rounds", None)
    return found


here, there = curve(pack / "curve" / "cpu.jsonl"), curve(out / "curve.jsonl")
apart = [abs(a["train_loss"] - b["train_loss"]) for a, b in zip(here, there)]
runs = {path.parent.name: lines(path)[-1:] for path in sorted(out.glob("runs/*/*/metrics.jsonl"))}
result = {
    "gpu": text(out / "gpu.txt"),
    "revision": text(pack / "revision.txt"),
    "parts": [part(line) for line in (text(out / "parts.txt") or "").splitlines()],
    "curve": {"cpu": here, "gpu": there, "largest difference of training losses": max(apart, default=None)},
    "bench": {path.stem: bench(path) for path in sorted(out.glob("bench-*.json"))},
    "runs": runs,
}
(out / "result.json").write_text(json.dumps(result, indent=1) + "\n")

print(result["gpu"])
for it in result["parts"]:
    said = {0: "passed", -1: "left out, no time", 124: "stopped, time is up", 137: "killed, time is up"}.get(it["status"], f"failed ({it['status']})")
    print(f"  {it['name']:46} {said}, {it['seconds']} s")
for name, found in result["bench"].items():
    for m in found.get("measurements", []):
        peer = m.get("pytorch")
        beside = f", PyTorch {peer['images_per_s']['median']:.0f}, ratio {m['ratio']['speed']['median']:.2f}" if peer else ""
        print(f"  {name}: {m['inductive']['images_per_s']['median']:.0f} images/s{beside}")
print(f"  training losses beside the CPU's: at most {max(apart, default=float('nan')):.1e} apart, {len(apart)} compared")
for name, last in runs.items():
    for it in last:
        print(f"  {name}: {it['test_top1']:.1f} % after {it['step']} updates")
