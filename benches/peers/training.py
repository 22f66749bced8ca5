"""Times training of reference networks with PyTorch and with gst-candle, all in one run: `make bench-train`.

Images a second over forward pass, backward pass and Adam's step; PyTorch's tensors lie channels last. Each gets a turn of
some seconds in each of several rounds; a figure is the median of the rounds. `ratio` is our rate by PyTorch's.
"""

import argparse
import os
import statistics
import subprocess
import time

import torch
from torch import nn


def block(ins, outs):
    return nn.Sequential(nn.Conv2d(ins, outs, 3, padding=1, bias=False), nn.BatchNorm2d(outs), nn.ReLU())


def plain(channels, width, depth, norm):
    """`depth` 3x3 convolutions of `width` channels between `channels` and `channels`."""
    layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers.append(block(width, width) if norm else nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU()))
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))


class UNet(nn.Module):
    """Five levels, two blocks each; additive skips."""

    def __init__(self, width):
        super().__init__()
        widths = [width * factor for factor in (1, 2, 4, 8, 8)]
        pairs = list(zip([1] + widths, widths))
        self.encode = nn.ModuleList(nn.Sequential(block(i, o), block(o, o)) for i, o in pairs)
        self.enlarge = nn.ModuleList(block(widths[level + 1], widths[level]) for level in range(4))
        self.decode = nn.ModuleList(nn.Sequential(block(w, w), block(w, w)) for w in widths[:4])
        self.output = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x):
        skips = []
        for level, encode in enumerate(self.encode):
            if level:
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = encode(x)
        for level in reversed(range(4)):
            x = self.enlarge[level](nn.functional.interpolate(x, scale_factor=2)) + skips[level]
            x = self.decode[level](x)
        return self.output(x)


NETS = [
    ("dncnn-17x64", lambda: plain(1, 64, 17, True), (16, 1, 40, 40)),
    ("ffdnet-8x32", lambda: nn.Sequential(nn.PixelUnshuffle(2), plain(4, 32, 8, False), nn.PixelShuffle(2)), (32, 1, 64, 64)),
    ("unet-16", lambda: UNet(16), (8, 1, 256, 256)),
]


ROUNDS = 3
TURN_SECONDS = 4


def trainer(make, shape, bf16):
    """A function that trains for one turn and returns images a second."""
    torch.manual_seed(0)
    net = make().to(memory_format=torch.channels_last)
    x = torch.rand(shape).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), 1e-3)

    def step():
        adam.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = net(x).square().mean()
        loss.backward()
        adam.step()

    def turn():
        step()
        steps, begun = 0, time.perf_counter()
        while steps < 2 or time.perf_counter() - begun < TURN_SECONDS:
            step()
            steps += 1
        return steps * shape[0] / (time.perf_counter() - begun)

    return turn


def ours(name):
    """What the benchmark of that name measures in one turn, by precision."""
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "training", "--", name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {precision: float(rate) for precision, rate in (line.split() for line in lines)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'net':12} {'precision':9} {'torch ' + torch.__version__:>18} {'gst-candle':>10} {'ratio':>6}   (images/s)")
    for name, make, shape in NETS:
        turns = {precision: trainer(make, shape, precision == "bf16") for precision in ("f32", "bf16")}
        rounds = [({precision: turn() for precision, turn in turns.items()}, ours(name)) for _ in range(ROUNDS)]
        for precision in turns:
            theirs = statistics.median(theirs[precision] for theirs, _ in rounds)
            text = f"{name:12} {precision:9} {theirs:18.2f}"
            if all(precision in own for _, own in rounds):
                rate = statistics.median(own[precision] for _, own in rounds)
                text += f" {rate:10.2f} {rate / theirs:6.2f}"
            else:
                text += "    (this CPU has no AMX)"
            print(text, flush=True)


main()
