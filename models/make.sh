#!/usr/bin/env bash
# Trains the shipped models again. models/README.md says what each is and what it reached.
#
#   models/make.sh [NAME…]     all of them, or those named, such as classify-neu
#   models/make.sh judge-magnetic-tile     only judges the two stages
#
# The data are looked for in $GST_CANDLE_DATA (default ../shared/data); the models of the test source need none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=${GST_CANDLE_DATA:-$here/../../shared/data}
candle=${GST_CANDLE:-$here/../target/release/gst-candle}
export GST_PLUGIN_PATH=${GST_PLUGIN_PATH:-$here/../target/gst-plugins}
# In a folder of its own, so that the models' cards name no path of this machine.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$(realpath -m "$data")" DATA

# frames FOLDER ELEMENT… : pictures from the test source
frames() {
    mkdir -p "$1"
    gst-launch-1.0 -q "${@:2}" ! pngenc compression-level=1 ! multifilesink location="$1/%04d.png"
}

terms="MIT OR Apache-2.0: drawn by this program"
line=(video/x-raw,format=RGB,width=480,height=360)

denoise-testsrc() {
    frames clean candletestsrc num-buffers=600 frames-per-part=7 noise=0 defect-rate=0 seed=100 '!' "${line[@]}"
    # As large as `micro`; it makes the picture itself, of no share of the noisy one.
    "$candle" train denoise clean --arch ffdnet --width 24 --depth 6 --sigma-max 20 \
        --steps 2000 --batch 16 --lr 2e-3 --license "$terms" -o "$here/denoise-testsrc.safetensors"
}

anomaly-testsrc() {
    # Several speeds, so that parts are cut by the frame's edge at many places.
    local good=()
    for n in 5 7 11 13; do
        good+=("good-$n")
        frames "good-$n" candletestsrc num-buffers=150 frames-per-part=$n defect-rate=0 seed=$((100 + n)) \
            '!' "${line[@]}" '!' candledenoise model-file="$here/denoise-testsrc.safetensors"
    done
    "$candle" train anomaly "${good[@]}" --arch unet --width 8 --smooth 5 --batch 8 --steps 6500 \
        --license "$terms" -o "$here/anomaly-testsrc.safetensors"
    # One good frame in twenty is above this threshold, nearly always where a pixel of the next part's rim has come in:
    # too small for the demonstration's least area.
    frames more candletestsrc num-buffers=400 frames-per-part=17 defect-rate=0 seed=200 '!' "${line[@]}" \
        '!' candledenoise model-file="$here/denoise-testsrc.safetensors"
    "$candle" calibrate "$here/anomaly-testsrc.safetensors" more --false-alarm-rate 0.05
}

classify-testsrc() {
    cargo run --release --manifest-path "$here/../Cargo.toml" --example testsrc_crops -- \
        "$here/denoise-testsrc.safetensors" "$here/anomaly-testsrc.safetensors" crops 600
    "$candle" train classify crops --steps 300 --license "$terms" -o "$here/classify-testsrc.safetensors"
}

denoise-fast-gray() {
    local bsd=(DATA/denoise/bsd400 --license "BSDS (Martin 2001), research use")
    "$candle" train denoise "${bsd[@]}" --batch 16 --steps 40000 -o first.safetensors
    "$candle" train denoise "${bsd[@]}" --batch 64 --lr 2e-3 --steps 4000 --from first.safetensors \
        -o "$here/denoise-fast-gray.safetensors"
}

cbsd=(DATA/denoise/cbsd400 --license "BSDS500 (Arbelaez 2011), research use")

denoise-accurate-gray() {
    local unet=("${cbsd[@]}" --color gray --arch unet --batch 16)
    "$candle" train denoise "${unet[@]}" --lr 3e-3 --steps 12000 -o first.safetensors
    "$candle" train denoise "${unet[@]}" --patch 128 --lr 1.5e-3 --steps 800 --loss l2 --from first.safetensors \
        -o second.safetensors
    # A GPU is worth having here: hours on two cores.
    "$candle" train denoise "${cbsd[@]}" --color gray --arch unet --batch 32 --patch 128 --lr 1.5e-3 --steps 10915 --loss l2 \
        --from second.safetensors -o "$here/denoise-accurate-gray.safetensors"
}

denoise-accurate-rgb() {
    "$candle" train denoise "${cbsd[@]}" --color rgb --arch unet --batch 8 --patch 128 --lr 3e-3 --steps 6500 \
        --from "$here/denoise-accurate-gray.safetensors" -o "$here/denoise-accurate-rgb.safetensors"
}

denoise-fast-rgb() {
    "$candle" train denoise "${cbsd[@]}" --arch fast --batch 16 --steps 18000 -o first.safetensors
    "$candle" train denoise "${cbsd[@]}" --arch fast --batch 64 --lr 2e-3 --steps 2000 --from first.safetensors \
        -o "$here/denoise-fast-rgb.safetensors"
}

denoise-recurrent-rgb() {
    # Short clips first: what a frame shows is learned sooner than what to remember.
    local recurrent=("${cbsd[@]}" --arch recurrent)
    "$candle" train denoise "${recurrent[@]}" --clip-frames 2 --batch 16 --steps 4000 -o first.safetensors
    "$candle" train denoise "${recurrent[@]}" --clip-frames 6 --batch 6 --steps 2500 --lr 2e-3 --from first.safetensors \
        -o second.safetensors
    "$candle" train denoise "${recurrent[@]}" --clip-frames 12 --batch 6 --steps 2000 --lr 2e-3 --from second.safetensors \
        -o third.safetensors
    "$candle" train denoise "${recurrent[@]}" --clip-frames 12 --batch 8 --steps 1500 --lr 2e-3 --from third.safetensors \
        -o fourth.safetensors
    "$candle" train denoise "${recurrent[@]}" --clip-frames 12 --batch 8 --steps 1100 --lr 2e-3 --loss l2 \
        --from fourth.safetensors -o "$here/denoise-recurrent-rgb.safetensors"
}

denoise-camera-rgb() {
    local camera=("${cbsd[@]}" --arch fast --noise camera --lr 2e-3)
    "$candle" train denoise "${camera[@]}" --sigma-max 15 --batch 16 --steps 8000 \
        --from "$here/denoise-fast-rgb.safetensors" -o first.safetensors
    "$candle" train denoise "${camera[@]}" --sigma-max 15 --batch 64 --steps 1500 --from first.safetensors -o second.safetensors
    "$candle" train denoise "${camera[@]}" --sigma-max 8 --batch 64 --steps 1000 --from second.safetensors \
        -o "$here/denoise-camera-rgb.safetensors"
}

tiles="magnetic tile defects (Huang 2020), cite"

anomaly-magnetic-tile() {
    "$candle" train anomaly DATA/anomaly/magnetic_tile --steps 2400 --false-alarm-rate 0.02 --license "$tiles" \
        -o "$here/anomaly-magnetic-tile.safetensors"
}

# by-kind PART FOLDER: the marked tiles of `train` or `test`, by kind as in MVTec AD, and good ones
by-kind() {
    local picture stem kind
    for picture in "$work/DATA/segment/magnetic_tile/$1"/images/*; do
        stem=$(basename "${picture%.*}")
        kind=$(basename "$(dirname DATA/anomaly/magnetic_tile/test/*/"$stem".*)")
        mkdir -p "$2/test/$kind" "$2/ground_truth/$kind"
        ln -s "$picture" "$2/test/$kind/"
        ln -s "$work/DATA/segment/magnetic_tile/$1/masks/$stem.png" "$2/ground_truth/$kind/${stem}_mask.png"
    done
    mkdir "$2/train"
    ln -s "$work/DATA/anomaly/magnetic_tile/train/good" "$2/train/good"
    ln -s "$work/DATA/anomaly/magnetic_tile/$1/good" "$2/test/good"
}

# Of depth 5: inside a large mark nothing within the reach of depth 4 says what it is.
segment-magnetic-tile() {
    "$candle" train anomaly DATA/anomaly/magnetic_tile --defects DATA/segment/magnetic_tile --depth 5 --steps 3000 \
        --false-alarm-rate 0.02 -o find5.safetensors
    "$candle" train segment DATA/segment/magnetic_tile --good DATA/anomaly/magnetic_tile --depth 5 --patch 192 --steps 2400 \
        --from find5.safetensors --lr 2e-3 --symmetry horizontal+vertical+turns --license "$tiles" \
        -o "$here/segment-magnetic-tile.safetensors"
}

# Two stages: a detector that has learned from all marks, and what names its regions. The latter learns from regions of a detector that has not
# seen the marks of some tiles: blocks of numbers, since one part is in six pictures.
classify-magnetic-tile() {
    local mask stem
    mkdir -p some/images some/masks
    for mask in "$work"/DATA/segment/magnetic_tile/train/masks/*; do
        stem=$(basename "${mask%.*}")
        [ $((10#${stem##*_} / 500 % 7)) -ne 6 ] || continue
        ln -s "$mask" some/masks/
        ln -s "$work/DATA/segment/magnetic_tile/train/images/$stem".* some/images/
    done
    "$candle" train anomaly DATA/anomaly/magnetic_tile --defects some --steps 3600 --false-alarm-rate 0.02 -o find.safetensors
    "$candle" train anomaly DATA/anomaly/magnetic_tile --defects DATA/segment/magnetic_tile --from find.safetensors --lr 1e-3 \
        --steps 1200 --false-alarm-rate 0.02 --license "$tiles" -o "$here/anomaly-magnetic-tile-marked.safetensors"
    by-kind train labelled
    for rate in 0.5 0.2 0.05; do
        "$candle" run find.safetensors labelled -o found --crops crops-$rate --context 64 --false-alarm-rate $rate
    done
    # It begins with what tells the kinds of marks apart pixel by pixel. Nothing is held out from that: it is not what is kept.
    cargo run --release --manifest-path "$here/../Cargo.toml" --example class_masks -- labelled kinds
    mkdir -p seen/images seen/masks
    for mask in $(find kinds/masks -type f | sort | awk 'NR % 30 == 1'); do
        stem=$(basename "${mask%.*}")
        cp "$mask" seen/masks/
        cp kinds/images/"$stem".* seen/images/
    done
    local symmetry=horizontal+vertical+turns
    "$candle" train segment kinds --val seen --good DATA/anomaly/magnetic_tile --labels blowhole,break,crack,fray,uneven --patch 128 \
        --steps 2400 --from "$here/anomaly-magnetic-tile-marked.safetensors" --lr 2e-3 --symmetry $symmetry -o kseg.safetensors
    "$candle" train classify crops-* --arch encoder --size 96x96 --from kseg.safetensors --lr 1e-3 --steps 1000 \
        --symmetry $symmetry --unknown-rate 0.01 --license "$tiles" -o "$here/classify-magnetic-tile.safetensors"
    judge-magnetic-tile
}

# What the two make of tiles that neither has learned from; trains nothing.
judge-magnetic-tile() {
    by-kind test unseen
    for rate in 0.5 0.2; do
        "$candle" eval "$here/anomaly-magnetic-tile-marked.safetensors" unseen --false-alarm-rate $rate \
            --classifier "$here/classify-magnetic-tile.safetensors" --context 64
    done
}

anomaly-walkway() {
    "$candle" train predict DATA/video/ucsd_ped1/clip0[1-9].avi --steps 2000 --false-alarm-rate 0.05 \
        --license "UCSD Anomaly Detection Dataset, Ped1 (Mahadevan 2010), cite" -o "$here/anomaly-walkway.safetensors"
}

classify-neu() {
    "$candle" train classify DATA/classify/neu --size 128x128 --steps 1500 \
        --license "NEU-DET (Song 2013), cite" -o "$here/classify-neu.safetensors"
}

classify-digits() {
    "$candle" train classify DATA/classify/digits --arch lenet --steps 1500 \
        --license "MNIST (LeCun 1998)" -o "$here/classify-digits.safetensors"
}

all=(denoise-testsrc anomaly-testsrc classify-testsrc denoise-fast-gray denoise-accurate-gray denoise-accurate-rgb
    denoise-fast-rgb denoise-recurrent-rgb denoise-camera-rgb anomaly-magnetic-tile segment-magnetic-tile classify-magnetic-tile anomaly-walkway
    classify-neu classify-digits)
for name in "${@:-${all[@]}}"; do
    "$name"
done
