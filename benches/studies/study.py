"""What the studies beside this file share: models that are trained once, their figures, tables."""

import argparse
import json
import os
import pathlib
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
STUDY = HERE / "target/study"


class Study:
    def __init__(self, program, data):
        self.program, self.data = program, data
        STUDY.mkdir(parents=True, exist_ok=True)

    def output(self, *arguments):
        return subprocess.run([self.program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    def trained(self, name, task, data, options):
        """The model file; trained if it is not there."""
        model = STUDY / f"{name}.safetensors"
        if not model.exists():
            command = ["train", task, data, "-o", model]
            if (STUDY / f"{model.name}.ckpt").exists():
                command.append("--resume")
            print(f"{name}:", *options, flush=True)
            begin = time.monotonic()
            self.output(*command, *options)
            STUDY.joinpath(f"{name}.seconds").write_text(f"{time.monotonic() - begin:.0f}")
        return model

    def judged(self, name, model, test, *options):
        """The figures of `eval`, kept by that name."""
        figures = STUDY / f"{name}.json"
        if not figures.exists():
            figures.write_text(self.output("eval", model, *test, *options, "--json", "-"))
        return json.loads(figures.read_text())

    def card(self, name):
        return json.loads(self.output("info", STUDY / f"{name}.safetensors", "--json", "-"))

    def bench(self, name):
        return json.loads(self.output("bench", STUDY / f"{name}.safetensors", "--json", "-"))

    def some(self, name, pictures, count):
        """A folder with `count` of these pictures, spread over all of them; made of links."""
        folder = STUDY / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture in spread(pictures, count):
            link = folder / picture.name
            if not link.is_symlink():
                os.symlink(picture, link)
        return folder


def spread(things, count):
    every = sorted(things)
    return [every[i * len(every) // count] for i in range(count)]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(value):
    return "" if value is None else f"{value:.3f}"


def main(about, make, parts):
    """Makes the tables that are named, or all: `parts` are functions of what `make` makes of program and data; their docstrings head them."""
    parts = {part.__name__: part for part in parts}
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--program", type=pathlib.Path, default=HERE / "target/release/gst-candle")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("parts", nargs="*", help=f"which tables, of {', '.join(parts)}; all, if none is named")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(parts)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}: the tables are {', '.join(parts)}")
    study = make(arguments.program.resolve(), arguments.data.resolve())
    for part in (parts[name] for name in arguments.parts or parts):
        found = f"{part.__doc__}\n\n{part(study)}\n"
        print(found, flush=True)
        STUDY.joinpath(f"{part.__name__}.md").write_text(found)
