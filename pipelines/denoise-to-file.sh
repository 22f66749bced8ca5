#!/usr/bin/env bash
# Denoises a video file, or a camera until Ctrl-C, into an MP4 file. Sound is left out.
#
#   pipelines/denoise-to-file.sh INPUT OUT.mp4 [MODEL]
#
#   INPUT   a file, a URI, or a camera such as /dev/video0
#   MODEL   a denoising model (default: denoise-fast-gray.safetensors in CANDLE_MODELS, or else in models/)
#
# OUT appears when it is whole; after an error there is none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || [ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=${3:-${CANDLE_MODELS:-$here/../models}/denoise-fast-gray.safetensors}

case $1 in
    /dev/video*) source=(v4l2src "device=$1" '!' decodebin) ;;
    *://*) source=(uridecodebin "uri=$1") ;;
    *) source=(filesrc "location=$1" '!' decodebin) ;;
esac

unfinished=$2.part
trap 'rm -f "$unfinished"' EXIT
# -e: Ctrl-C ends the file properly.
gst-launch-1.0 -e "${source[@]}" ! videoconvert \
    ! candledenoise "model-file=$model" \
    ! videoconvert ! x264enc tune=zerolatency ! mp4mux ! filesink "location=$unfinished"
mv "$unfinished" "$2"
