#!/usr/bin/env bash
# The inspection line of candletestsrc through every element, in a window or into a file.
#
#   pipelines/testsrc.sh [OUT.mp4]
#
# Without OUT it opens a window and runs until it is closed; with OUT it writes 20 seconds of video.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
models=$here/../models

if [ $# -eq 0 ]; then
    source=(candletestsrc is-live=true)
    sink=(autovideosink)
else
    source=(candletestsrc num-buffers=300)
    sink=(x264enc '!' mp4mux '!' filesink "location=$1")
fi

exec gst-launch-1.0 -e "${source[@]}" ! video/x-raw,format=RGB,width=480,height=360,framerate=15/1 \
    ! candledenoise "model-file=$models/denoise-testsrc.safetensors" \
    ! candleanomaly "model-file=$models/anomaly-testsrc.safetensors" \
    ! candleclassify "model-file=$models/classify-testsrc.safetensors" regions=metas \
    ! candleoverlay ! candlepublish \
    ! videoconvert ! "${sink[@]}"
