#!/usr/bin/env python3
"""Writes small networks with random weights by torch.onnx.export, as a user of PyTorch would, for the test of `gst-candle import`.

    export_onnx.py FOLDER

Of each network: FOLDER/NAME.onnx, NAME.input (a batch of pictures) and NAME.output (what PyTorch makes of it), float32, little-endian, and
its line in FOLDER/networks.json: name, shapes of both. FOLDER/pictures has pictures of 40x30 in folders by what the network colours.onnx says
they are, and FOLDER/colours.json has for each its logits.
"""

import inspect
import json
import pathlib
import sys
import warnings

import torch
from torch import nn
from torch.nn import functional as F

# From 2.9 on another exporter is the default, which needs packages that Debian lacks.
HOW = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}


class Block(nn.Module):
    """Two convolutions and a way past them, as in ResNet-18."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        past = [nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)]
        self.past = nn.Sequential(*past) if stride > 1 or before != after else nn.Identity()

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.past(x))


class ResNet18(nn.Module):
    """ResNet-18 with `width` instead of 64 channels first."""

    def __init__(self, width, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks, before = [], width
        for stage in range(4):
            after = width << stage
            blocks += [Block(before, after, 1 if stage == 0 else 2), Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class Plain(nn.Module):
    """Convolutions, pools and two linear layers, for pictures of 28x28."""

    def __init__(self, channels, end=None):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.LeakyReLU(0.1), nn.AvgPool2d(2)
        )
        self.head = nn.Sequential(nn.Linear(16 * 36, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
        self.end = end

    def forward(self, x):
        x = self.features(x)
        logits = self.head(x.view(x.size(0), -1))
        return logits if self.end is None else self.end(logits)


class Mobile(nn.Module):
    """Depthwise convolutions, hard and soft activations, squeeze and excitation; batch norms that follow no convolution."""

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.SiLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid())
        self.long = nn.Sequential(nn.Conv2d(16, 16, (1, 7), padding=(0, 3)), nn.Conv2d(16, 16, (7, 1), padding=(3, 0)), nn.PReLU(16))
        self.mirror = nn.Sequential(nn.Conv2d(32, 24, 3, padding=1, padding_mode="reflect"), nn.Tanh(), nn.BatchNorm2d(24))
        self.fc = nn.Linear(24, classes)

    def forward(self, x):
        x = self.depthwise(self.stem(x))
        x = x * self.excite(x)
        x = torch.cat([x, self.long(x)], 1)
        x = self.mirror(x).clamp(-1.5, 2.0)
        return self.fc(x.mean((2, 3)))


class UNet(nn.Module):
    """Down and up again, by transposed convolutions and by interpolation to another value's size."""

    def __init__(self, classes):
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.down2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 2, dilation=2), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 8, 4, 2, 1)
        self.end = nn.Conv2d(16, classes, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(a)
        c = F.interpolate(self.down3(b), size=b.shape[2:], mode="bilinear", align_corners=False)
        return self.end(torch.cat([self.up(torch.cat([b, c], 1)), a], 1))


class Shuffle(nn.Module):
    """A denoiser of half the size inside, for pictures of any size."""

    def __init__(self):
        super().__init__()
        replicate = {"padding_mode": "replicate", "padding": 1}
        self.body = nn.Sequential(nn.Conv2d(1, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 4, 3, **replicate), nn.PixelShuffle(2))

    def forward(self, x):
        return x - self.body(x)


def settle(network, x):
    """Random batch-norm statistics, and weights with which what the last layer gives for `x` is of the size of logits."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.3, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            last = module
    network.eval()
    seen = []
    hook = last.register_forward_hook(lambda module, inputs, output: seen.append(output.abs().max()))
    with torch.no_grad():
        network(x)
        last.weight *= 5 / seen[0]
        last.bias *= 5 / seen[0]
    hook.remove()
    return network


def export(folder, name, network, shape, opset=13, open_axes=()):
    """Writes the network and what it makes of a random batch; returns its line of the list."""
    x = torch.rand(shape)
    network = settle(network, x)
    with torch.no_grad():
        y = network(x)
    axes = {axis: ["batch", "channels", "height", "width"][axis] for axis in open_axes}
    torch.onnx.export(
        network,
        # Without an open batch the example says how many pictures there are at once.
        x if 0 in open_axes else x[:1],
        str(folder / f"{name}.onnx"),
        opset_version=opset,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": axes, "logits": {0: "batch"}} if axes else None,
        **HOW,
    )
    for kind, tensor in (("input", x), ("output", y)):
        (folder / f"{name}.{kind}").write_bytes(tensor.contiguous().numpy().astype("<f4").tobytes())
    return {"name": name, "input": list(x.shape), "output": list(y.shape)}


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def colours(folder):
    """A classifier of pictures of 40x30 that are normalised as for ImageNet, and pictures for it."""
    pictures = torch.randint(0, 256, (12, 3, 1, 1)) // 2 + torch.randint(0, 128, (12, 3, 30, 40))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = (pictures / 255 - mean) / std
    network = settle(ResNet18(8, 3), x)
    with torch.no_grad():
        # Each class is to have pictures.
        network.fc.bias -= network(x).mean(0)
        logits = network(x)
    torch.onnx.export(network, x[:1], str(folder / "colours.onnx"), **HOW)
    table = {}
    for number, (picture, row) in enumerate(zip(pictures.to(torch.uint8), logits)):
        # Numbers would make them neighbours.
        name = f"{'abc'[row.argmax()]}/{chr(ord('a') + number)}.ppm"
        (folder / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / name).write_bytes(b"P6 40 30 255\n" + picture.permute(1, 2, 0).contiguous().numpy().tobytes())
        table[name] = row.tolist()
    (folder / "colours.json").write_text(json.dumps(table))


def main():
    folder = pathlib.Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    torch.manual_seed(7)
    torch.set_num_threads(1)
    lines = [
        export(folder, "resnet", ResNet18(16, 10), (2, 3, 64, 64)),
        export(folder, "resnet-batch", ResNet18(8, 5), (3, 3, 64, 48), open_axes=[0]),
        export(folder, "resnet-any", ResNet18(8, 5), (2, 3, 96, 64), opset=11, open_axes=[0, 2, 3]),
        export(folder, "plain", Plain(1), (3, 1, 28, 28)),
        export(folder, "plain-batch", Plain(3), (3, 3, 28, 28), opset=17, open_axes=[0]),
        export(folder, "plain-old", Plain(1), (2, 1, 28, 28), opset=9),
        export(folder, "plain-softmax", Plain(1, nn.Softmax(1)), (2, 1, 28, 28), open_axes=[0]),
        export(folder, "plain-log-softmax", Plain(1, nn.LogSoftmax(1)), (2, 1, 28, 28)),
        export(folder, "mobile", Mobile(7), (2, 3, 32, 32), opset=14),
        export(folder, "unet", UNet(3), (2, 3, 32, 40)),
        export(folder, "shuffle", Shuffle(), (2, 1, 24, 16), open_axes=[0, 2, 3]),
    ]
    colours(folder)
    (folder / "networks.json").write_text(json.dumps({"torch": torch.__version__, "networks": lines}))


if __name__ == "__main__":
    main()
