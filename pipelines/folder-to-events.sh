#!/usr/bin/env bash
# Inspects every PNG and JPEG picture of a folder and writes one line of JSON a picture, in the order of their names.
#
#   pipelines/folder-to-events.sh FOLDER MODEL EVENTS.jsonl [NAMES]
#
#   MODEL   an anomaly model, such as models/anomaly-magnetic-tile.safetensors
#   NAMES   a classifier of what it finds; CONTEXT in the environment is the least side of what that sees of a region (0)
#
# RATE in the environment is the share of good pictures that may be found anomalous (the model's own). Of both stages, with names:
#
#   RATE=0.2 CONTEXT=64 pipelines/folder-to-events.sh FOLDER models/anomaly-magnetic-tile-marked.safetensors \
#       EVENTS.jsonl models/classify-magnetic-tile.safetensors
#
# Each line has the picture's name as `file`, then the fields of candlepublish that a picture can have: `score`,
# `threshold`, `anomalous`, `regions`; with NAMES also `label`, and that of each region. A picture that cannot be read
# is named; then no EVENTS are written.
set -euo pipefail
[ $# -eq 3 ] || [ $# -eq 4 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ -d "$1" ] || { echo "$1: no such folder" >&2; exit 1; }

names=()
[ $# -eq 3 ] || names=('!' candleclassify "model-file=$4" regions=metas "region-context=${CONTEXT:-0}")

# multifilesrc wants numbered names of one type: number the pictures by links, one pass a type.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for type in png jpeg; do
    [ "$type" = png ] && pattern='*.png' || pattern='*.jp*g'
    mkdir "$work/$type"
    pictures=()
    while IFS= read -r -d '' picture; do
        ln -s "$(realpath "$picture")" "$work/$type/$(printf %06d ${#pictures[@]})"
        pictures+=("$(basename "$picture")")
    done < <(find "$1" -maxdepth 1 -xtype f -iname "$pattern" -print0 | sort -z)
    [ ${#pictures[@]} -gt 0 ] || continue
    # async=false: a sink that waits for its first frame can keep gst-launch-1.0 from ending where no picture can be read.
    gst-launch-1.0 -q multifilesrc "location=$work/$type/%06d" "caps=image/$type,framerate=1/1" \
        ! "${type}dec" ! videoconvert \
        ! candleanomaly "model-file=$2" ${RATE:+"false-alarm-rate=$RATE"} "${names[@]}" \
        ! candlepublish "location=$work/$type.jsonl" post-messages=all ! fakesink async=false
    # The decoders pass over what they cannot read: with a line too few, no line's picture is sure.
    if [ "$(grep -c '"task":"anomaly"' "$work/$type.jsonl")" -ne ${#pictures[@]} ]; then
        for number in "${!pictures[@]}"; do
            gst-launch-1.0 -q filesrc "location=$work/$type/$(printf %06d "$number")" ! "${type}dec" \
                ! filesink "location=$work/pixels" async=false 2>/dev/null || true
            [ -s "$work/pixels" ] || echo "$1/${pictures[number]}: no $type picture that can be read" >&2
        done
        exit 1
    fi
    # With names there are two events a picture, of which the second has the regions, too.
    jq -cs 'group_by(.frame)[] | sort_by(.task) | map(select(.task == "classify")) as $named | .[0] + ($named[0] // {})
        | {file: $ARGS.positional[.frame], score, threshold, anomalous}
        + if $named == [] then {} else {"label": .["label"], confidence} end + {regions}' "$work/$type.jsonl" \
        --args "${pictures[@]}" >> "$work/all.jsonl"
done
[ -e "$work/all.jsonl" ] || { echo "$1: no PNG or JPEG pictures" >&2; exit 1; }
jq -cs 'sort_by(.file)[]' "$work/all.jsonl" > "$3"
