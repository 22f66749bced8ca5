#!/usr/bin/env bash
# Runs each element for a few small frames under valgrind's memcheck, and fails if it finds an access to memory that is not there or
# not written, or a block that is lost. What GStreamer, GLib and the system do once and never free is listed, with reasons, in
# memcheck.supp beside this script.
#
#   scripts/memcheck.sh [NAME…]
#
#   NAME   one of the runs below (default: all of them)
#
# GST_PLUGIN_PATH and GST_REGISTRY_1_0 say where the plugins are, as `make memcheck` does. CANDLE_MODELS is the folder of the models (default:
# models/ beside this folder). valgrind knows no AVX-512 and no AMX and tells programs so: the kernels run as they do on a machine with AVX2.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
models=${CANDLE_MODELS:-$here/../models}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

denoise="candledenoise model-file=$models/denoise-testsrc.safetensors"
remember="candledenoise model-file=$models/denoise-recurrent-rgb.safetensors"
anomaly="candleanomaly model-file=$models/anomaly-testsrc.safetensors"
predict="candleanomaly model-file=$models/anomaly-walkway.safetensors"
classify="candleclassify model-file=$models/classify-testsrc.safetensors"
segment="candlesegment model-file=$models/segment-magnetic-tile.safetensors"
embed="candleembed model-file=$models/classify-neu.safetensors"
source="candletestsrc num-buffers=3 ! video/x-raw,width=48,height=32"

declare -A runs=(
    [source]="$source,format=I420 ! fakesink"
    [denoise]="$source,format=RGB ! $denoise ! fakesink"
    [remember]="$source,format=NV12 ! $remember threads=2 ! fakesink"
    [anomaly]="$source,format=GRAY8 ! $anomaly output=heatmap threads=2 ! fakesink"
    [predict]="candletestsrc num-buffers=6 ! video/x-raw,width=48,height=32,format=I420 ! $predict inference-interval=2 ! fakesink"
    [classify]="$source,format=BGRx ! $classify regions=metas smoothing=0.5 ! fakesink"
    [segment]="$source,format=RGB ! $segment output=overlay min-area=4 ! candleoverlay ! fakesink"
    [embed]="$source,format=NV12 ! $embed ! candleoverlay ! candlepublish post-messages=all location=$work/codes.jsonl ! fakesink"
    [overlay]="$source,format=RGBA ! $anomaly threshold=0 ! $classify ! candleoverlay show-truth=true ! fakesink"
    [publish]="$source,format=RGB ! $denoise ! $anomaly threshold=0 ! candlepublish post-messages=all location=$work/events.jsonl ! fakesink"
    [snapshot]="$source,format=RGB ! $anomaly threshold=0 ! candlesnapshot location=$work/flagged on=anomalous clip-before=1000000000 \
        clip-encoder=jpegenc ! fakesink"
    [missing]="$source ! candledenoise model-file=$work/missing.safetensors ! fakesink"
    [reload]="candletestsrc is-live=true ! video/x-raw,width=48,height=32,format=RGB,framerate=5/1 \
        ! candleclassify model-file=$work/watched.safetensors watch-model=true name=watched ! fakesink"
)
order=(source denoise remember anomaly predict classify segment embed overlay publish snapshot missing reload)
[ $# -eq 0 ] || order=("$@")

# Waits until the run has said something so many times; 5 minutes, because the machine may be busy.
await() {
    for ((i = 0; i < 3000; i++)); do
        [ "$(grep -c "$2" "$work/said")" -lt "$1" ] || return 0
        sleep 0.1
    done
    echo "memcheck: \`$2\` does not come" >&2
}

# Other models while frames flow: a good one, one that is none, none at all. Then the run is ended.
change_models() {
    await 1 'new-state=(GstState)playing'
    cp "$models/classify-neu.safetensors" "$work/next"
    mv "$work/next" "$work/watched.safetensors"
    await 1 model-reloaded
    echo rubbish >"$work/watched.safetensors"
    await 1 model-rejected
    rm "$work/watched.safetensors"
    await 2 model-rejected
    kill -INT "$1"
}

# So that no run under valgrind looks for plugins.
gst-inspect-1.0 candleanomaly >/dev/null
failed=()
for name in "${order[@]}"; do
    [ -n "${runs[$name]:-}" ] || { echo "no run \`$name\`; there are: ${!runs[*]}" >&2; exit 2; }
    cp "$models/classify-testsrc.safetensors" "$work/watched.safetensors"
    : >"$work/said"
    # gst-launch-1.0 ends like that where a pipeline cannot start.
    expected=0
    [ "$name" != missing ] || expected=255
    # shellcheck disable=SC2086 # A launch line is words.
    G_SLICE=always-malloc G_DEBUG=gc-friendly GST_REGISTRY_UPDATE=no GST_DEBUG= \
        valgrind --quiet --num-callers=40 --error-exitcode=99 \
        --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --suppressions=/usr/share/glib-2.0/valgrind/glib.supp --suppressions="$here/memcheck.supp" \
        --gen-suppressions=all --log-file="$work/log" \
        gst-launch-1.0 -em ${runs[$name]} >"$work/said" 2>&1 &
    run=$!
    [ "$name" != reload ] || change_models "$run"
    found=0
    wait "$run" || found=$?
    if [ "$found" -eq "$expected" ] && [ ! -s "$work/log" ]; then
        echo "clean: $name"
    else
        failed+=("$name")
        echo "NOT CLEAN: $name (exit code $found, expected $expected)"
        cat "$work/said" "$work/log"
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "memcheck: not clean: ${failed[*]}" >&2; exit 1; }
