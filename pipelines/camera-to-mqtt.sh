#!/usr/bin/env bash
# Watches a camera and tells an MQTT broker: events, the last state, whether the camera is there, and, for Home Assistant,
# what to show. While the broker is away events wait on disk.
#
#   pipelines/camera-to-mqtt.sh INPUT MODEL BROKER [CAMERA]
#
#   INPUT   a camera such as /dev/video0, or a URI such as rtsp://HOST/PATH
#   MODEL   an anomaly model trained on good frames of this camera
#   BROKER  mqtt://HOST[:PORT], or mqtts:// by TLS
#   CAMERA  its name in topics: gst-candle/CAMERA/inspect/events, …/state (default: the name of this machine)
#
# GST_CANDLE_MQTT_USER and GST_CANDLE_MQTT_PASSWORD in the environment log in. To see what arrives:
# mosquitto_sub -h HOST -v -t 'gst-candle/+/+/events'
set -euo pipefail
[ $# -eq 3 ] || [ $# -eq 4 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }

case $1 in
    /dev/video*) source=(v4l2src "device=$1" '!' decodebin) ;;
    *) source=(uridecodebin "uri=$1") ;;
esac

# The leaky queue drops old frames rather than fall behind the camera. One line a second keeps the score current.
# Without -q: it would hide warnings, such as that the broker cannot be reached.
exec gst-launch-1.0 -e --no-position "${source[@]}" ! videoconvert \
    ! queue leaky=downstream max-size-buffers=2 \
    ! candleanomaly name=inspect "model-file=$2" hold-duration=1000000000 \
    ! candlepublish "broker=$3" "camera=${4:-}" discovery-prefix=homeassistant \
        post-messages=interval message-interval=1000000000 \
    ! fakesink sync=false
