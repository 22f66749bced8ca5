"""Runs what `onnx_cases` wrote with onnxruntime and compares, value by value: `make check-export`.

    export.py FOLDER

Prints for each network the largest difference and the largest value; fails where the difference is above 1e-4 of that, or of 1.
"""

import json
import pathlib
import sys

import numpy
import onnxruntime


def main():
    folder = pathlib.Path(sys.argv[1])
    bad = 0
    print(f"onnxruntime {onnxruntime.__version__}\n{'network':28} {'difference':>10} {'largest':>9}")
    for case in json.loads((folder / "cases.json").read_text()):
        name = case["name"]
        load = lambda kind, i, shape: numpy.fromfile(folder / f"{name}.{i}.{kind}", "<f4").reshape(shape)
        session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
        inputs = {given.name: load("input", i, shape) for i, (given, shape) in enumerate(zip(session.get_inputs(), case["inputs"], strict=True))}
        outputs = session.run(None, inputs)
        worst = largest = 0.0
        for i, (found, shape) in enumerate(zip(outputs, case["outputs"], strict=True)):
            wanted = load("output", i, shape)
            if found.shape != wanted.shape:
                sys.exit(f"{name}: output {i} has shape {found.shape}, not {wanted.shape}")
            worst = max(worst, float(numpy.abs(found - wanted).max()))
            largest = max(largest, float(numpy.abs(wanted).max()))
        is_bad = not worst <= 1e-4 * max(1.0, largest)
        bad += is_bad
        print(f"{name:28} {worst:10.1e} {largest:9.3f}{'  differs' if is_bad else ''}")
    sys.exit(f"{bad} networks differ" if bad else 0)


if __name__ == "__main__":
    main()
