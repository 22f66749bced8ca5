#!/usr/bin/env bash
# Keeps what the alarms of a camera or a video showed: for each a picture with the overlay, and a clip from 3 seconds before to 5 after.
# Runs until Ctrl-C or the end of the video, which is played at its own pace.
#
#   pipelines/snapshots.sh INPUT MODEL FOLDER
#
#   INPUT   a file, a URI such as rtsp://USER:PASSWORD@HOST/PATH, or a camera such as /dev/video0
#   MODEL   an anomaly model trained on good frames of this camera
#   FOLDER  where files go; of more than 1000 of them or 2 GB, the oldest are removed
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# How far behind a camera inference may be before frames pass without it; a file waits for it.
max_lag=200000000
case $1 in
    /dev/video*) source=(v4l2src "device=$1" '!' decodebin) ;;
    rtsp://*) source=(rtspsrc "location=$1" latency=200 '!' application/x-rtp,media=video '!' decodebin) ;;
    *://*) source=(uridecodebin "uri=$1") ;;
    *) source=(filesrc "location=$1" '!' decodebin) max_lag=0 ;;
esac

# -e: Ctrl-C completes the clip at hand.
exec gst-launch-1.0 -e --no-position "${source[@]}" ! videoconvert \
    ! queue ! candleanomaly "model-file=$2" hold-duration=1000000000 max-lag=$max_lag ! queue \
    ! candleoverlay \
    ! candlesnapshot "location=$3" on=alarm-begin clip-before=3000000000 clip-after=5000000000 max-files=1000 max-size=2000000000 \
    ! fakesink sync=true
