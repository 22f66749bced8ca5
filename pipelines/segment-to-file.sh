#!/usr/bin/env bash
# Draws the classes of a video file, or of a camera until Ctrl-C, over its frames, into an MP4 file. Prints a line of JSON whenever a class
# comes or goes: `labels`, the `shares` of the frame that they take, `regions` and more (docs/publish.md). Sound is left out.
#
#   pipelines/segment-to-file.sh INPUT OUT.mp4 [MODEL]
#
#   INPUT   a file, a URI, or a camera such as /dev/video0
#   MODEL   a segmenting model (default: segment-magnetic-tile.safetensors in CANDLE_MODELS, or else in models/)
#
# OUT appears when it is whole; after an error there is none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || [ $# -eq 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=${3:-${CANDLE_MODELS:-$here/../models}/segment-magnetic-tile.safetensors}

case $1 in
    /dev/video*) source=(v4l2src "device=$1" '!' decodebin) ;;
    *://*) source=(uridecodebin "uri=$1") ;;
    *) source=(filesrc "location=$1" '!' decodebin) ;;
esac

unfinished=$2.part
trap 'rm -f "$unfinished"' EXIT
# -e: Ctrl-C ends the file properly. -q: standard output is for the lines.
gst-launch-1.0 -e -q "${source[@]}" ! videoconvert \
    ! candlesegment "model-file=$model" ! candlepublish location=/dev/stdout \
    ! candleoverlay \
    ! videoconvert ! x264enc tune=zerolatency ! mp4mux ! filesink "location=$unfinished"
mv "$unfinished" "$2"
