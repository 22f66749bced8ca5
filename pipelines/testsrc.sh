#!/usr/bin/env bash
# The inspection line of candletestsrc through every element, in a window or into a file. Each change of the alarm or of
# the label is a line of JSON on standard output.
#
#   pipelines/testsrc.sh [OUT.mp4 [FRAMES]]
#
# Without OUT it opens a window and runs until it is closed; with OUT it writes FRAMES of video (default: 300, which is
# 20 seconds). CANDLE_MODELS is the folder of the models (default: models/ beside this folder).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -le 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
models=${CANDLE_MODELS:-$here/../models}

if [ $# -eq 0 ]; then
    source=(candletestsrc is-live=true)
    sink=(autovideosink)
else
    source=(candletestsrc "num-buffers=${2:-300}")
    sink=(x264enc '!' mp4mux '!' filesink "location=$1")
fi

exec gst-launch-1.0 -qe "${source[@]}" ! video/x-raw,format=RGB,width=480,height=360,framerate=15/1 \
    ! candledenoise "model-file=$models/denoise-testsrc.safetensors" \
    ! candleanomaly "model-file=$models/anomaly-testsrc.safetensors" \
    ! candleclassify "model-file=$models/classify-testsrc.safetensors" regions=metas \
    ! candleoverlay ! candlepublish \
    ! videoconvert ! "${sink[@]}"
