#!/usr/bin/env bash
# Denoises a video file, or a camera until Ctrl-C, into an MP4 file.
#
#   pipelines/denoise-to-file.sh INPUT OUT.mp4 [MODEL]
#
#   INPUT   a file, a URI, or a camera such as /dev/video0
#   MODEL   a denoising model (default: models/denoise-fast-gray.safetensors)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=${3:-$here/../models/denoise-fast-gray.safetensors}

case $1 in
    /dev/video*) source=(v4l2src "device=$1" '!' decodebin) ;;
    *://*) source=(uridecodebin "uri=$1") ;;
    *) source=(filesrc "location=$1" '!' decodebin) ;;
esac

# -e: Ctrl-C ends the file properly.
exec gst-launch-1.0 -e "${source[@]}" ! videoconvert \
    ! candledenoise "model-file=$model" \
    ! videoconvert ! x264enc tune=zerolatency ! mp4mux ! filesink "location=$2"
