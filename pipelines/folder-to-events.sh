#!/usr/bin/env bash
# Inspects every PNG and JPEG picture of a folder, in the order of their names, and writes one line of JSON a picture.
#
#   pipelines/folder-to-events.sh FOLDER MODEL EVENTS.jsonl
#
#   MODEL   an anomaly model, such as models/anomaly-magnetic-tile.safetensors
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }

# multifilesrc wants numbered names of one type: number the pictures by links, one pass a type.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: > "$3"
total=0
for type in png jpeg; do
    [ "$type" = png ] && pattern='*.png' || pattern='*.jp*g'
    mkdir "$work/$type"
    number=0
    while IFS= read -r -d '' picture; do
        ln -s "$(realpath "$picture")" "$work/$type/$(printf %06d "$number")"
        number=$((number + 1))
    done < <(find "$1" -maxdepth 1 -iname "$pattern" -print0 | sort -z)
    [ "$number" -gt 0 ] || continue
    total=$((total + number))
    gst-launch-1.0 -q multifilesrc "location=$work/$type/%06d" "caps=image/$type,framerate=1/1" \
        ! "${type}dec" ! videoconvert \
        ! candleanomaly "model-file=$2" \
        ! candlepublish "location=$3" mode=all append=true ! fakesink
done
[ "$total" -gt 0 ] || { echo "$1: no PNG or JPEG pictures" >&2; exit 1; }
