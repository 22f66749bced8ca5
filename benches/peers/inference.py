"""Times networks with onnxruntime, OpenVINO and gst-candle, all in one run: `make bench-peers`.

Each runtime gets a turn of some seconds in each of several rounds, so that whatever else the machine does meets
all of them; a figure is the median over all rounds. `ratio` is the time of the faster peer of the same precision by ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy
import onnxruntime
import openvino

NETS = [
    ("5x16-rgb", "1280x720"),
    ("fast-gray", "1280x720"),
    ("fast-gray", "1920x1080"),
    ("dncnn-gray", "640x360"),
    ("fair-gray", "256x256"),
]
ROUNDS = 3
TURN_SECONDS = 3.0


def turn(run):
    """Milliseconds of each run in one turn, after two to warm up."""
    run()
    run()
    times = []
    end = time.perf_counter() + TURN_SECONDS
    while time.perf_counter() < end or len(times) < 3:
        begun = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begun))
    return times


def peers(path, threads):
    """Runs of the network at `path`, by runtime and precision."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    random = numpy.random.default_rng(0)
    feeds = {i.name: random.random(i.shape, dtype=numpy.float32) for i in session.get_inputs()}
    runs = {("onnxruntime", "f32"): lambda: session.run(None, feeds)}
    for precision in ("f32", "bf16"):
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        request = openvino.Core().compile_model(path, "CPU", hints).create_infer_request()
        runs["openvino", precision] = lambda request=request: request.infer(feeds)
    return runs


def ours(program, model, size, threads, precision):
    """What `gst-candle bench` says, or None where this CPU cannot run the precision."""
    command = [program, "bench", model, "--size", size, "--threads", str(threads), "--precision", precision, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if precision == "f32":
        raise SystemExit(done.stderr)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", default="gst-candle")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("models", help="folder written by the example bench_models")
    arguments = parser.parse_args()
    print(f"{'net':22} {'precision':9} {'onnxruntime':>12} {'openvino':>9} {'gst-candle':>10} {'ratio':>6} {'isa':>7}   (ms)")
    for name, size in NETS:
        model = os.path.join(arguments.models, name + ".safetensors")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "net.onnx")
            subprocess.run([arguments.program, "export", model, path, "--size", size], check=True)
            runs = peers(path, arguments.threads)
        times = {key: [] for key in runs}
        figures = {"f32": [], "bf16": []}
        for _ in range(ROUNDS):
            for key, run in runs.items():
                times[key] += turn(run)
            for precision in figures:
                figure = ours(arguments.program, model, size, arguments.threads, precision)
                if figure:
                    figures[precision].append(figure)
        medians = {key: statistics.median(values) for key, values in times.items()}
        for precision, found in figures.items():
            row = {runtime: ms for (runtime, of), ms in medians.items() if of == precision}
            text = f"{name + ' ' + size:22} {precision:9} {row.get('onnxruntime', float('nan')):12.1f} {row['openvino']:9.1f}"
            if found:
                ms = statistics.median(figure["ms"] for figure in found)
                text += f" {ms:10.1f} {min(row.values()) / ms:6.2f} {found[0]['isa']:>7}"
            else:
                text += "    (this CPU has no AMX)"
            print(text, flush=True)


main()
