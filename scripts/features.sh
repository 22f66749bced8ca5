#!/usr/bin/env bash
# Prints the arguments by which cargo builds what the installed GStreamer allows beyond 1.22: nothing there,
# `--features ...` from 1.24 on.
set -euo pipefail

at_least() {
    pkg-config --atleast-version="$1" gstreamer-analytics-1.0 2>/dev/null
}

if at_least 1.26; then
    echo --features gst-plugin-candle/v1_26
elif at_least 1.24; then
    echo --features gst-plugin-candle/analytics
fi
