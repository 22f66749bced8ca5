#!/usr/bin/env bash
# The pictures of docs/overlay.md: one frame of the inspection line, drawn on by candleoverlay with one layer at a time, with all of them, and at
# other sizes.
#
#   scripts/overlay-pictures.sh [OUT [FRAMES]]
#
# Writes OUT/overlay-*.jpg (default: docs/) of frame number FRAMES. Needs the plugin, as `make build` leaves it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/docs}
frames=${2:-38}
export GST_PLUGIN_PATH=${GST_PLUGIN_PATH:-$root/target/gst-plugins}
pictures=$(mktemp -d)
trap 'rm -rf "$pictures"' EXIT
mkdir -p "$out"

# draw WIDTH HEIGHT NAME=PROPERTIES...
draw() {
    local width=$1 height=$2 branches=() name
    shift 2
    for picture in "$@"; do
        name=${picture%%=*}
        # shellcheck disable=SC2206 # properties are words
        branches+=(t. ! queue ! candleoverlay ${picture#*=} ! videoconvert ! jpegenc quality=88
            ! multifilesink "location=$pictures/$name.jpg")
    done
    gst-launch-1.0 -q candletestsrc num-buffers="$frames" seed=1 frames-per-part=10 defect-rate=0.35 \
        ! "video/x-raw,format=RGB,width=$width,height=$height,framerate=15/1" \
        ! candledenoise "model-file=$root/models/denoise-testsrc.safetensors" \
        ! candleanomaly "model-file=$root/models/anomaly-testsrc.safetensors" min-area=20 \
        ! candleclassify "model-file=$root/models/classify-testsrc.safetensors" regions=metas \
        ! tee name=t "${branches[@]}"
}

draw 640 480 all= heatmap=layers=heatmap legend=layers=heatmap+legend regions=layers=regions label=layers=label frame=layers=frame \
    history=layers=history viridis="layers=heatmap+legend heatmap-colors=viridis" turbo="layers=heatmap+legend heatmap-colors=turbo"
draw 160 120 160x120=
draw 320 240 320x240=
for picture in "$pictures"/*.jpg; do
    mv "$picture" "$out/overlay-$(basename "$picture")"
done
