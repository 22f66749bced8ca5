#!/usr/bin/env python3
"""An inspection program to start yours from: a camera, a file, a stream or the test source goes through a model; flags are printed, and
thresholds and the model are changed while it runs. Needs python3-gi and gir1.2-gstreamer-1.0.

    make build
    export GST_PLUGIN_PATH=$PWD/target/gst-plugins GST_PRESET_PATH=$PWD/target/gst-plugins/presets
    python3 examples/inspection.py --denoise models/denoise-testsrc.safetensors --model models/anomaly-testsrc.safetensors
    python3 examples/inspection.py --model part.safetensors --output watched.mp4 /dev/video0

Everything happens in the main loop's thread, so that nothing needs a lock: messages of the pipeline's bus, signals, lines typed.
`inspect.rs` beside this file is the same in Rust; under that name this one would stand in for a module of Python itself.
"""

import argparse
import math
import os
import signal
import sys
import warnings

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

# There is no other way to an array of structures without python3-gst-1.0.
warnings.filterwarnings("ignore", "GObject.ValueArray", DeprecationWarning)

# How long the end may take, in seconds, once it is asked for.
PATIENCE = 10

COMMANDS = """\
t NUMBER      the score at and above which a frame is anomalous; -1 = the model's own threshold
rate NUMBER   the share of good frames that may be flagged, such as 0.001; 0 = as calibrated
model FILE    another model; this one stays in force until it is loaded, and if it cannot be used
s             what was done so far
q             end"""


class Failure(Exception):
    """What ends the program, or a command that cannot be done, in a sentence."""


class Inspection:
    def __init__(self, options):
        # What the user says goes in by properties, so that no name can be taken for a piece of pipeline.
        try:
            self.pipeline = Gst.parse_launch(description(options))
        except GLib.Error as error:
            raise Failure(
                f"no such pipeline: {error.message}. Is GST_PLUGIN_PATH the folder of the plugins, target/gst-plugins after `make build`?"
            ) from None
        self.loop = GLib.MainLoop()
        self.failure = None
        self.ending = False
        # What was typed of a line that has no end yet.
        self.unfinished = ""
        if options.source.startswith("/dev/"):
            self.element("source").set_property("device", options.source)
        elif options.source != "test":
            self.element("source").set_property("uri", uri(options.source))
        if options.denoise:
            self.element("denoise").set_property("model-file", options.denoise)
        if options.output not in ("window", "none"):
            self.element("file").set_property("location", options.output)
        self.anomaly = self.element("anomaly")
        self.anomaly.set_property("model-file", options.model)
        if options.preset and not self.anomaly.load_preset(options.preset):
            names = ", ".join(self.anomaly.get_preset_names())
            raise Failure(f"no preset `{options.preset}` (there are: {names}); GST_PRESET_PATH is where more are looked for")
        if options.threshold is not None:
            self.set_threshold(options.threshold)

    def element(self, name):
        return self.pipeline.get_by_name(name)

    def run(self):
        """Runs to the end of the source, until it is told to end, or to the first error."""
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        for number in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.on_signal)
        if sys.stdin:
            GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, self.on_input)
        # If this fails, the bus has the reason.
        self.pipeline.set_state(Gst.State.PLAYING)
        try:
            self.loop.run()
        finally:
            self.pipeline.set_state(Gst.State.NULL)
        if self.failure:
            raise self.failure

    def fail(self, text):
        self.failure = Failure(text)
        self.loop.quit()

    def on_message(self, _bus, message):
        kind = message.type
        if kind == Gst.MessageType.EOS:
            self.loop.quit()
        elif kind == Gst.MessageType.ERROR:
            self.fail(f"{message.src.get_name()}: {message.parse_error()[0].message}")
        elif kind == Gst.MessageType.WARNING:
            complain(f"{message.src.get_name()}: {message.parse_warning()[0].message}")
        elif kind == Gst.MessageType.ELEMENT:
            try:
                tell(message.get_structure())
            except Failure as failure:
                self.fail(failure)
        # What every live application owes its pipeline.
        elif kind == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif kind == Gst.MessageType.CLOCK_LOST:
            self.pipeline.set_state(Gst.State.PAUSED)
            self.pipeline.set_state(Gst.State.PLAYING)

    def on_signal(self):
        if self.ending:
            self.fail("cut short: what is written may not be whole")
        else:
            self.finish()
        return GLib.SOURCE_CONTINUE

    def finish(self):
        """Lets what is under way come to its end, so that a file is whole. A second signal cuts it short."""
        if not self.ending:
            self.ending = True
            self.pipeline.send_event(Gst.Event.new_eos())
            GLib.timeout_add_seconds(PATIENCE, self.fail, f"the pipeline does not end within {PATIENCE} s")

    def on_input(self, fd, _condition):
        """Takes what was typed, line by line; without a standard input, the program runs all the same."""
        typed = os.read(fd, 4096).decode(errors="replace")
        *lines, self.unfinished = (self.unfinished + typed).split("\n")
        for line in lines:
            try:
                self.obey(line)
            except Failure as failure:
                complain(failure)
        return GLib.SOURCE_CONTINUE if typed else GLib.SOURCE_REMOVE

    def obey(self, line):
        """Does what a line says."""
        command, _, argument = line.strip().partition(" ")
        if command == "t":
            self.set_threshold(number(argument))
        elif command == "rate":
            self.set_rate(number(argument))
        elif command == "model":
            self.anomaly.set_property("model-file", argument.strip())
        elif command == "s":
            stats = self.anomaly.get_property("stats")
            frames, inspected = (stats.get_value(name) for name in ("frames", "inferred"))
            median, last = (stats.get_value(name) for name in ("ms-p50", "ms-p99"))
            say(f"{frames} frames, {inspected} inspected, {median:.1f} ms at the median, {last:.1f} ms at the 99th percentile")
        elif command == "q":
            self.finish()
        elif command:
            say(COMMANDS)

    def set_threshold(self, threshold):
        """Sets the score at and above which a frame is anomalous; -1 stands for the model's own."""
        if not (threshold == -1 or 0 <= threshold < math.inf):
            raise Failure(f"threshold cannot be {threshold:g}; type ? for what it can be")
        self.anomaly.set_property("threshold", threshold)
        say(f"threshold is {threshold:g} now")

    def set_rate(self, rate):
        """Sets the share of good frames that may be flagged; 0 stands for the one that the model was calibrated for."""
        if not 0 <= rate <= 0.5:
            raise Failure(f"false-alarm-rate cannot be {rate:g}; type ? for what it can be")
        self.anomaly.set_property("false-alarm-rate", rate)
        # One that is set would go first.
        self.anomaly.set_property("threshold", -1)
        say(f"false-alarm-rate is {rate:g} now")


def tell(fields):
    """Prints what an element says: a flag, or what became of a new model. `docs/elements/results.md` has all the fields."""
    name = fields.get_name()
    if name == "candleanomaly":
        what = "ALARM" if fields.get_value("state") else "good again"
        seconds = (fields.get_value("running-time") or 0) / Gst.SECOND
        text = f"{seconds:.2f} s: {what}, score {fields.get_value('score'):.4f}, threshold {fields.get_value('threshold'):.4f}"
        # The worst first.
        for x, y, width, height in regions_of(fields):
            text += f", {width}x{height} at {x},{y}"
        say(text)
    elif name == "model-reloaded":
        say(f"model in force: {fields.get_value('model-file')}")
    elif name == "model-rejected":
        say(f"model rejected: {fields.get_value('reason')}")


def regions_of(fields):
    """`(x, y, width, height)` of each region."""
    array = fields.get_array("regions")[1]
    sides = ("x", "y", "width", "height")
    # The structures are the array's own: they are read while it is there.
    return [tuple(array.get_nth(i).get_value(side) for side in sides) for i in range(array.n_values)]


def description(options):
    """The pipeline that the options ask for."""
    # A camera does not wait: where inference falls behind, old frames go.
    live = "queue leaky=downstream max-size-buffers=2"
    if options.source == "test":
        source = f"candletestsrc is-live=true ! video/x-raw,format=RGB,width=480,height=360,framerate=15/1 ! {live}"
    elif options.source.startswith("/dev/"):
        source = f"v4l2src name=source ! decodebin ! videoconvert ! {live}"
    elif options.source.startswith("rtsp"):
        source = f"uridecodebin name=source ! videoconvert ! {live}"
    else:
        source = "uridecodebin name=source ! videoconvert ! queue"
    denoise = "! candledenoise name=denoise" if options.denoise else ""
    if options.output == "none":
        sink = "fakesink sync=false"
    elif options.output == "window":
        sink = "candleoverlay ! videoconvert ! autovideosink"
    else:
        sink = "candleoverlay ! videoconvert ! x264enc tune=zerolatency ! mp4mux ! filesink name=file"
    return f"{source} {denoise} ! candleanomaly name=anomaly ! {sink}"


def uri(source):
    """The file or URI as a URI."""
    if "://" in source:
        return source
    if not os.path.isfile(source):
        raise Failure(f"{source}: no such file")
    return Gst.filename_to_uri(source)


def number(text):
    try:
        return float(text)
    except ValueError:
        raise Failure(f"`{text}` is not a number") from None


def say(text):
    """Prints a line; a reader that is gone is an error like others."""
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        # What is not written yet is not tried again at the end.
        sys.stdout = None
        raise Failure(f"standard output: {error.strerror}") from None


def complain(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(
        description="Watches a camera, a file or a stream for what is not normal. While it runs, type ? for what can be changed."
    )
    parser.add_argument("source", nargs="?", default="test", help="a camera such as /dev/video0, a file, a URI, or `test`: the test source")
    parser.add_argument("-m", "--model", metavar="FILE", required=True, help="the model of the good parts, made by `gst-candle train anomaly`")
    parser.add_argument("-d", "--denoise", metavar="FILE", help="a model that takes the noise away first, made by `gst-candle train denoise`")
    parser.add_argument(
        "-o", "--output", default="window", help="where frames go, with what was found drawn on them: `window`, `none`, or a file such as watched.mp4"
    )
    parser.add_argument("-p", "--preset", metavar="NAME", help="settings of candleanomaly under a name, such as `few-false-alarms`")
    parser.add_argument("-t", "--threshold", metavar="NUMBER", type=float, help="as `t` while it runs")
    options = parser.parse_args()
    Gst.init(None)
    try:
        Inspection(options).run()
    except Failure as failure:
        complain(f"Error: {failure}")
        sys.exit(1)


if __name__ == "__main__":
    main()
