#!/usr/bin/env bash
# The whole path on the inspection line of candletestsrc: denoise, flag, name, draw, publish. Then it compares what was
# flagged with what the line had seeded.
#
#   pipelines/demo.sh OUT [FRAMES]
#
# Leaves OUT/demo.mp4, OUT/demo.png (the worst frame, with heat map and label), OUT/events.jsonl (a line for each
# change of state) and OUT/frames.jsonl (a line for each frame and element, with the truth). Fails when fewer than 90 %
# of the defective parts were flagged, or more than 2 % of the good ones. CANDLE_MODELS is the folder of the models
# (default: models/ beside this folder).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
frames=${2:-500}
models=${CANDLE_MODELS:-$here/../models}
mkdir -p "$out"

start=$(date +%s)
gst-launch-1.0 -q candletestsrc num-buffers="$frames" seed=1 frames-per-part=10 defect-rate=0.35 \
    ! video/x-raw,format=RGB,width=480,height=360,framerate=15/1 \
    ! candledenoise model-file="$models/denoise-testsrc.safetensors" \
    ! candleanomaly model-file="$models/anomaly-testsrc.safetensors" min-area=20 \
    ! candleclassify model-file="$models/classify-testsrc.safetensors" regions=metas \
    ! candlepublish location="$out/events.jsonl" \
    ! candlepublish location="$out/frames.jsonl" post-messages=all \
    ! candleoverlay ! videoconvert ! x264enc speed-preset=veryfast ! mp4mux ! filesink location="$out/demo.mp4"
seconds=$(($(date +%s) - start))

# A picture of the frame with the highest score, if possible one that shows a whole defective part and is named.
worst=$(jq -s '(map(select(.task == "classify" and .known) | { (.frame | tostring): true }) | add) as $known
    | map(select(.task == "anomaly"))
    | max_by([($known[.frame | tostring] and (.truth // [] | any(.defect != "good"))), .score, .regions[0].area]).frame' \
    "$out/frames.jsonl")
pictures=$(mktemp -d)
trap 'rm -rf "$pictures"' EXIT
gst-launch-1.0 -q filesrc location="$out/demo.mp4" ! qtdemux ! avdec_h264 ! videoconvert ! video/x-raw,format=RGB \
    ! pngenc compression-level=1 ! multifilesink location="$pictures/%d.png"
mv "$pictures/$worst.png" "$out/demo.png"

jq 'select(.task == "anomaly")' "$out/frames.jsonl" \
    | jq -rs --argjson seeded "$frames" --argjson seconds "$seconds" -f "$here/demo.jq"
echo "left: $out/demo.mp4 $out/demo.png $out/events.jsonl"
