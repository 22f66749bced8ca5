"""Denoisers that people use, and ours, on the same noisy frames: `make bench-denoisers`.

Grey: every third picture of bsd68, turned to landscape, with white noise of sigma 25, rounded to 8 bits and clipped as a camera's frames
are. Colour: the first 24 frames of a video with sigma 30. A peer that has a strength gets the one, of a few, with which it does best on these
very frames; ours estimates the noise. PSNR is the mean over frames. Milliseconds a frame: the time of the whole program on all frames,
less that of the same program passing them on as they are; each is run several times by turns, and the median counts.

Writes docs/denoisers.svg (PSNR against time), docs/denoisers.png (parts of frames at pixel scale) and prints the table.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import cv2
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot
import numpy

ROUNDS = 3


def psnr(a, b):
    error = numpy.mean((a.astype(numpy.float64) - b.astype(numpy.float64)) ** 2, axis=tuple(range(1, a.ndim)))
    return float(numpy.mean(10 * numpy.log10(255.0**2 / error)))


class Frames:
    """Clean and noisy frames of one size, uint8, [N, H, W] or [N, H, W, 3] in RGB."""

    def __init__(self, clean, sigma):
        self.clean = numpy.stack(clean)
        noise = numpy.random.default_rng(1).normal(0, sigma, self.clean.shape)
        self.noisy = numpy.clip(numpy.rint(self.clean + noise), 0, 255).astype(numpy.uint8)
        self.height, self.width = self.clean.shape[1:3]
        self.color = self.clean.ndim == 4
        self.raw = tempfile.NamedTemporaryFile(suffix=".raw")
        self.noisy.tofile(self.raw.name)

    def read(self, data):
        return numpy.frombuffer(data, numpy.uint8).reshape(self.clean.shape)


def seconds(run):
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


def ffmpeg(frames, graph):
    pixels = "rgb24" if frames.color else "gray"
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{frames.width}x{frames.height}", "-i", frames.raw.name]
    command += ["-filter_complex", graph, "-f", "rawvideo", "-pix_fmt", pixels, "-"]
    return frames.read(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def gstreamer(frames, element):
    pixels = "rgb" if frames.color else "gray8"
    parse = f"rawvideoparse format={pixels} width={frames.width} height={frames.height} framerate=25/1"
    with tempfile.NamedTemporaryFile() as out:
        line = f"filesrc location={frames.raw.name} ! {parse} ! {element} ! filesink location={out.name}"
        subprocess.run(["gst-launch-1.0", "-q", *line.split()], check=True, capture_output=True)
        return frames.read(out.read())


def opencv(frames, strength):
    if frames.color:
        return numpy.stack([cv2.fastNlMeansDenoisingColored(f, None, strength, strength) for f in frames.noisy])
    return numpy.stack([cv2.fastNlMeansDenoising(f, None, strength) for f in frames.noisy])


def bm3d(sigma):
    """FFmpeg's first step on groups of one block of 16x16. With larger groups (8, 16), and with the second step, FFmpeg 5.1 removes less:
    20.8 and 25.0 dB at best on three pictures of bsd68, where this comes to 25.4. Its scale of sigma is not the noise's."""
    return f"bm3d=sigma={sigma}:block=4:bstep=2:group=1:estim=basic"


def contenders(frames, sigma, models, ours):
    """Name, whose it is, the runs to choose from, and what passes frames on as they are."""
    best = lambda make, values: [(value, lambda value=value: make(value)) for value in values]
    copy = lambda: ffmpeg(frames, "null")
    spatial = 0 if not frames.color else 6
    yield "hqdn3d", "FFmpeg", best(lambda s: ffmpeg(frames, f"hqdn3d={s}:{s}:{spatial}:{spatial}"), [8, 12, 16, 24, 32]), copy
    yield "nlmeans", "FFmpeg", best(lambda s: ffmpeg(frames, f"nlmeans=s={s}:p=7:r=15"), [8, 12, 16, 20]), copy
    yield "bm3d", "FFmpeg", best(lambda s: ffmpeg(frames, bm3d(s)), [2 * sigma, 3 * sigma, 4 * sigma]), copy
    yield "fastNlMeans", "OpenCV", best(lambda s: opencv(frames, s), [15, 20, 25, 30] if not frames.color else [10, 15, 20]), lambda: frames.noisy.copy()
    plain = lambda: gstreamer(frames, "identity")
    for model in ours:
        path = models / f"{model}.safetensors"
        if path.exists():
            run = lambda path=path: gstreamer(frames, f"candledenoise model-file={path}")
            yield model, "gst-candle", [("estimated", run)], plain


def measure(frames, sigma, models, ours):
    entries = []
    for name, whose, choices, plain in contenders(frames, sigma, models, ours):
        strength, run = max(choices, key=lambda choice: psnr(choice[1](), frames.clean)) if len(choices) > 1 else choices[0]
        entries.append((name, whose, strength, run, plain, [], []))
    for _ in range(ROUNDS):
        for *_, run, plain, times, outputs in entries:
            took, output = seconds(run)
            times.append(took - seconds(plain)[0])
            outputs[:] = [output]
    rows = [("noisy", "", "", psnr(frames.noisy, frames.clean), 0.0, frames.noisy)]
    for name, whose, strength, *_, times, [out] in entries:
        rows.append((name, whose, strength, psnr(out, frames.clean), 1e3 * statistics.median(times) / len(frames.clean), out))
    return rows


def panel(frames, rows, index, at, side=128):
    """One frame's part in every version, names above."""
    x, y = at
    tiles = []
    for name, *_, out in [*rows, ("clean", frames.clean)]:
        tile = out[index][y : y + side, x : x + side]
        tile = tile if frames.color else numpy.repeat(tile[..., None], 3, axis=2)
        tile = cv2.resize(tile, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        band = numpy.full((24, tile.shape[1], 3), 255, numpy.uint8)
        cv2.putText(band, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(numpy.pad(numpy.vstack([band, tile]), ((0, 4), (0, 4), (0, 0)), constant_values=255))
    columns = 4
    tiles += [numpy.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return numpy.vstack([numpy.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def draw(axis, title, points):
    """PSNR against time of each name, owner, dB, ms."""
    for name, whose, value, ms in points:
        ours = whose == "gst-candle"
        axis.scatter(ms, value, marker="o" if ours else "x", color="tab:red" if ours else "tab:blue")
        # A name stands left of its point where another point is close on the right.
        crowded = any(1 < other / ms < 8 and abs(level - value) < 0.5 for *_, level, other in points)
        place = {"xytext": (-5, 4), "ha": "right"} if crowded else {"xytext": (5, 4), "ha": "left"}
        axis.annotate(name if ours else f"{name} ({whose})", (ms, value), textcoords="offset points", fontsize=8, **place)
    axis.set(xscale="log", xlim=(0.5, 10000), xlabel="milliseconds a frame", ylabel="PSNR, dB", title=title)
    axis.margins(y=0.12)
    axis.grid(alpha=0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path, help="folder with denoise/bsd68 and video/tennis")
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("docs", type=pathlib.Path)
    arguments = parser.parse_args()

    grey = []
    for path in sorted((arguments.data / "denoise/bsd68").glob("*.png"))[::3]:
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        grey.append((picture if picture.shape[1] > picture.shape[0] else numpy.rot90(picture))[:320, :480].copy())
    tennis = [cv2.imread(str(path))[..., ::-1] for path in sorted((arguments.data / "video/tennis").glob("*.png"))[:24]]
    sets = [
        ("bsd68, grey, sigma 25", Frames(grey, 25), 25, ["denoise-fast-gray", "denoise-accurate-gray"], 7, (170, 100)),
        ("tennis, colour, sigma 30", Frames(tennis, 30), 30, ["denoise-fast-rgb", "denoise-accurate-rgb", "denoise-recurrent-rgb"], 20, (150, 60)),
    ]
    figure, axes = plot.subplots(1, len(sets), figsize=(5.5 * len(sets), 4.2), squeeze=False)
    panels = []
    for axis, (title, frames, sigma, ours, index, at) in zip(axes[0], sets):
        rows = measure(frames, sigma, arguments.models, ours)
        print(f"\n{title}, {frames.width}x{frames.height}, {os.cpu_count()} threads\n")
        print("| denoiser | | strength | PSNR, dB | ms a frame |\n|---|---|---|---|---|")
        for name, whose, strength, value, ms, _ in rows:
            print(f"| `{name}` | {whose} | {strength} | {value:.2f} | {ms:.1f} |" if whose else f"| {name} | | | {value:.2f} | |")
        draw(axis, title, [(name, whose, value, max(ms, 0.1)) for name, whose, _, value, ms, _ in rows[1:]])
        panels.append(panel(frames, rows, index, at))
    figure.tight_layout()
    figure.savefig(arguments.docs / "denoisers.svg")
    width = max(p.shape[1] for p in panels)
    panels = [numpy.pad(p, ((0, 8), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in panels]
    cv2.imwrite(str(arguments.docs / "denoisers.png"), numpy.vstack(panels)[..., ::-1])


if __name__ == "__main__":
    main()
