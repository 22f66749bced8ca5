#!/usr/bin/env bash
# Watches an RTSP camera: events to standard output, one line of JSON each time the alarm starts or ends.
#
#   pipelines/rtsp-camera.sh rtsp://USER:PASSWORD@HOST/PATH MODEL
#
#   MODEL   an anomaly model trained on good frames of this camera:
#           gst-candle train anomaly rtsp://… -o part.safetensors, or a recording of it
#
# A camera that goes away after it has shown something is waited for: it is asked again every CANDLE_RETRY seconds (default: 5) until it is
# back, and its first frame makes a line again. One that shows nothing at the start is an error.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }

running=
trap '[ -z "$running" ] || kill "$running" 2>/dev/null; exit 143' INT TERM

has_shown=
while :; do
    # Cameras may send sound too, hence the filter. One without power says nothing more, hence the watchdog, in milliseconds. The leaky
    # queue drops old frames rather than fall behind the camera.
    exec {events}< <(LC_ALL=C exec gst-launch-1.0 --no-position rtspsrc "location=$1" latency=200 ! application/x-rtp,media=video ! decodebin \
        ! watchdog timeout=10000 ! videoconvert \
        ! queue leaky=downstream max-size-buffers=2 \
        ! candleanomaly "model-file=$2" hold-duration=1000000000 \
        ! candlepublish ! fakesink sync=false)
    running=$!
    while IFS= read -r line <&"$events"; do
        case $line in
            '{'*) has_shown=yes; printf '%s\n' "$line" ;;
            WARNING:*) printf '%s\n' "$line" >&2 ;;
        esac
    done
    exec {events}<&-
    status=0
    wait "$running" || status=$?
    # 255: the pipeline cannot start, because of the model, not the camera.
    [ -n "$has_shown" ] && [ "$status" -ne 255 ] || exit $((status ? status : 1))
    echo "rtsp-camera: the camera is gone; asking again in ${CANDLE_RETRY:-5} s" >&2
    sleep "${CANDLE_RETRY:-5}" &
    running=$!
    wait "$running"
done
