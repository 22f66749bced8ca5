#!/usr/bin/env bash
# Watches an RTSP camera: events to standard output, one line of JSON each time the alarm starts or ends.
#
#   pipelines/rtsp-camera.sh rtsp://USER:PASSWORD@HOST/PATH MODEL
#
#   MODEL   an anomaly model trained on good frames of this camera:
#           gst-candle train anomaly rtsp://… -o part.safetensors, or a recording of it
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# Cameras may send sound too, hence the filter. The leaky queue drops old frames rather than fall behind the camera.
exec gst-launch-1.0 -q rtspsrc "location=$1" latency=200 ! application/x-rtp,media=video ! decodebin ! videoconvert \
    ! queue leaky=downstream max-size-buffers=2 \
    ! candleanomaly "model-file=$2" hold-duration=1000000000 \
    ! candlepublish ! fakesink sync=false
