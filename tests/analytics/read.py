#!/usr/bin/env python3
"""Reads what the candle elements find from GStreamer's analytics metas, and compares it with their messages on the bus.

    ./read.py 'candletestsrc num-buffers=50 ! candleanomaly model-file=... post-messages=all ! appsink name=out sync=false'

Prints what it has read; fails at the first difference. It knows nothing of the plugin but the names of its messages.
Needs python3-gst-1.0 and gir1.2-gst-plugins-bad-1.0.
"""

import sys
from dataclasses import dataclass

import gi

for library in ("Gst", "GstApp", "GstAnalytics"):
    gi.require_version(library, "1.0")
from gi.repository import GLib, Gst, GstAnalytics, GstApp  # noqa: E402, F401

RELATE_TO = GstAnalytics.RelTypes.RELATE_TO
IS_PART_OF = GstAnalytics.RelTypes.IS_PART_OF


@dataclass
class Object:
    """An object on a frame: `place` is x, y, width, height; `classes` are label and probability, the best first."""

    label: str
    place: tuple
    confidence: float
    is_part: bool
    classes: list | None


def read(buffer):
    """The objects on a buffer."""
    meta = GstAnalytics.buffer_get_analytics_relation_meta(buffer)
    if meta is None:
        return []
    found, classes = {}, {}
    for number in range(GstAnalytics.relation_get_length(meta)):
        is_object, mtd = meta.get_od_mtd(number)
        if is_object:
            found[number] = mtd
        is_classification, mtd = meta.get_cls_mtd(number)
        if is_classification:
            classes[number] = [
                (GLib.quark_to_string(mtd.get_quark(i)), mtd.get_level(i)) for i in range(mtd.get_length())
            ]
    objects = []
    for number, mtd in found.items():
        _, x, y, width, height, confidence = mtd.get_location()
        related = [classes[other] for other in classes if meta.get_relation(number, other) & RELATE_TO]
        objects.append(
            Object(
                GLib.quark_to_string(mtd.get_obj_type()),
                (x, y, width, height),
                confidence,
                any(meta.get_relation(number, other) & IS_PART_OF for other in found),
                related[0] if related else None,
            )
        )
    return objects


def place(region):
    return tuple(region[field] for field in ("x", "y", "width", "height"))


def near(a, b):
    return abs(a - b) < 1e-5


class Reader:
    """Compares frames with the messages about them, and counts."""

    def __init__(self):
        self.frames = self.messages = self.anomalous = self.regions = self.labels = 0

    def anomaly(self, objects, told):
        """What candleanomaly says: the verdict with its score, and the regions."""
        order = ["anomalous", "normal"] if told["anomalous"] else ["normal", "anomalous"]
        (verdict,) = [one for one in objects if one.label == order[0]]
        assert [label for label, _ in verdict.classes] == order, verdict
        # 0.5 is the threshold; a frame whose regions are all too small is normal whatever its score.
        score = max(told["normalized"], 0.5) if told["anomalous"] else min(told["normalized"], 0.5)
        assert near(dict(verdict.classes)["anomalous"], score), (verdict, score)
        regions = [one.place for one in objects if one.is_part]
        assert regions == [place(region) for region in told["regions"]], regions
        assert all(one.label == "anomaly" for one in objects if one.is_part)
        self.anomalous += told["anomalous"]

    def classify(self, objects, told):
        """What candleclassify says: of the frame, or of each region."""
        if len(told["regions"]) == 0 and len(told["labels"]) > 0:
            (frame,) = [one for one in objects if one.label == told["label"]]
            assert not frame.is_part, frame
            self.classes(frame, told)
        for region in told["regions"]:
            (one,) = [one for one in objects if one.place == place(region)]
            self.classes(one, region)
            self.regions += 1

    def classes(self, one, told):
        self.labels += 1
        if not told["known"]:
            assert one.classes is None, one
            return
        assert one.classes[0][0] == told["label"], (one, told["label"])
        assert [label for label, _ in one.classes] == list(told["labels"]), one
        assert all(near(level, told) for (_, level), told in zip(one.classes, told["confidences"])), one
        levels = [level for _, level in one.classes]
        assert levels == sorted(levels, reverse=True), one

    def check(self, buffer, bus):
        """Compares a frame with the messages about it, which are on the bus before it comes."""
        objects = read(buffer)
        while (message := bus.peek()) is not None:
            if message.type == Gst.MessageType.EOS:
                # May come while the last frame is read, and is waited for afterwards.
                break
            if message.type == Gst.MessageType.ERROR:
                sys.exit(str(message.parse_error()[0]))
            told = message.get_structure()
            if message.type == Gst.MessageType.ELEMENT and told.has_field("timestamp"):
                if told["timestamp"] > buffer.pts:
                    break
                assert told["timestamp"] == buffer.pts, "a message about a frame that is over"
                self.messages += 1
                if told.get_name() == "candleanomaly":
                    self.anomaly(objects, told)
                elif told.get_name() == "candleclassify":
                    self.classify(objects, told)
            bus.pop()
        self.frames += 1


def main():
    Gst.init(None)
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pipeline = Gst.parse_launch(sys.argv[1])
    sink, bus = pipeline.get_by_name("out"), pipeline.get_bus()
    pipeline.set_state(Gst.State.PLAYING)
    reader = Reader()
    while (sample := sink.pull_sample()) is not None:
        reader.check(sample.get_buffer(), bus)
    end = bus.timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.ERROR | Gst.MessageType.EOS)
    if end.type == Gst.MessageType.ERROR:
        sys.exit(str(end.parse_error()[0]))
    print(
        f"{reader.frames} frames, {reader.messages} messages, {reader.anomalous} anomalous, "
        f"{reader.regions} regions, {reader.labels} labels"
    )
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
