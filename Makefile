# Two commands do everything on a fresh Debian 12: `make demo` and `make test`.

export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
PLUGINS := $(TARGET)/gst-plugins
# What the installed GStreamer allows; asked when a recipe runs, after the set-up.
FEATURES := $$(scripts/features.sh)
# A registry of its own, so that the user's is left alone and finds nothing of a stale build.
export GST_PLUGIN_PATH := $(PLUGINS)
export GST_PRESET_PATH := $(PLUGINS)/presets
export GST_REGISTRY_1_0 := $(TARGET)/gst-registry.bin
export GST_CANDLE := $(TARGET)/release/gst-candle
PREFIX ?= /usr/local
PLUGIN_DIR ?= $(shell pkg-config --variable=pluginsdir gstreamer-1.0)
# GStreamer looks for presets in this folder alone, wherever the plugins are.
PRESET_DIR ?= $(shell pkg-config --variable=datadir gstreamer-1.0)/gstreamer-1.0/presets

.PHONY: demo test test-checked test-analytics build memcheck soak lint deny install docs-elements models bench-peers check-export bench-train bench-denoisers study-anomaly study-classify study-suggest clean

## demo: build, then the test source through denoise, anomaly, classify and overlay; leaves out/
demo: build
	pipelines/demo.sh out

## test: every test
test: build
	scripts/setup.sh --tests
	cargo test --release --workspace --locked $(FEATURES)

## test-checked: the kernels in a build that checks every bound, unsafe accesses included
test-checked:
	scripts/setup.sh
	cargo test --lib --no-default-features --locked -- kernels:: exec::

## test-analytics: clippy and every test once more under GStreamer 1.26, in a Debian 13 that it makes in target/debian13 (as root)
test-analytics:
	scripts/debian13.sh make lint test

## build: the trainer and the plugins, for use from the build folder
build:
	scripts/setup.sh
	cargo build --release --workspace --locked $(FEATURES)
	mkdir -p $(PLUGINS)
	cp -u $(TARGET)/release/libgstcandle.so $(TARGET)/release/libgstcandlepublish.so $(PLUGINS)
	install -D -m 644 -t $(PLUGINS)/presets plugins/candle/presets/*.prs

## memcheck: each element under valgrind, a few small frames (installs valgrind)
memcheck: build
	command -v valgrind >/dev/null || apt-get install -y --no-install-recommends valgrind
	scripts/memcheck.sh

## soak: the whole pipeline at full rate with other models every ten seconds; SOAK_MINUTES=60 unless set
soak: build
	cargo build --release --workspace --locked $(FEATURES) --example soak
	$(TARGET)/release/examples/soak $${SOAK_MINUTES:-60}

## lint: formatting and clippy, with and without features
lint:
	scripts/setup.sh
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked $(FEATURES) -- -D warnings
	cargo clippy --release -p gst-candle --no-default-features --all-targets --locked -- -D warnings
	cargo clippy --release -p gst-candle --no-default-features --features train --all-targets --locked -- -D warnings

## deny: licences, bans and sources of the dependencies (needs cargo-deny), and unused ones (needs cargo-machete)
deny:
	cargo deny --locked check
	cargo machete

## install: the trainer to PREFIX/bin, the plugins and presets where GStreamer finds them
install: build
	install -D -m 755 $(GST_CANDLE) $(DESTDIR)$(PREFIX)/bin/gst-candle
	install -D -m 644 -t $(DESTDIR)$(PLUGIN_DIR) $(TARGET)/release/libgstcandle.so $(TARGET)/release/libgstcandlepublish.so
	install -D -m 644 -t $(DESTDIR)$(PRESET_DIR) plugins/candle/presets/*.prs

## docs-elements: the pages of docs/elements, from the elements themselves and their source
docs-elements: build
	cargo build --release --workspace --locked $(FEATURES) --example element_docs
	$(TARGET)/release/examples/element_docs docs/elements

## models: train the shipped models again (hours; needs the data that models/README.md names)
models: build
	models/make.sh

## bench-peers: networks live, against onnxruntime and OpenVINO in the same run (downloads them from PyPI)
bench-peers: build
	python3 -m venv target/peers
	target/peers/bin/pip install --quiet numpy onnxruntime openvino
	cargo run --release --locked --example bench_models -- target/peers/models
	target/peers/bin/python benches/peers/inference.py --program $(GST_CANDLE) target/peers/models

## check-export: every op and every shipped model as ONNX, against onnxruntime (downloads it from PyPI)
check-export:
	python3 -m venv target/peers
	target/peers/bin/pip install --quiet numpy onnxruntime
	cargo run --release --locked --example onnx_cases -- target/peers/export
	target/peers/bin/python benches/peers/export.py target/peers/export

## bench-train: training, against PyTorch in the same run (downloads it from PyPI, some gigabytes)
bench-train:
	python3 -m venv target/peers
	target/peers/bin/pip install --quiet torch
	cargo bench --locked --no-run --bench training
	target/peers/bin/python benches/peers/training.py

## bench-denoisers: denoisers that people use, and the shipped ones, on the same frames (downloads OpenCV from PyPI, needs ffmpeg)
bench-denoisers: build
	command -v ffmpeg >/dev/null || apt-get install -y --no-install-recommends ffmpeg
	python3 -m venv target/peers
	target/peers/bin/pip install --quiet numpy matplotlib opencv-python-headless
	target/peers/bin/python benches/peers/denoisers.py $${GST_CANDLE_DATA:-../shared/data} models docs

## study-anomaly: what anomaly detectors reach and what each choice is worth: target/study/*.md (hours; goes on where it stopped)
study-anomaly: build
	python3 benches/studies/anomaly.py $${GST_CANDLE_DATA:-../shared/data}

## study-classify: what classifiers reach, what they call unknown and what they can be taught: target/study/*.md (hours; goes on where it stopped)
study-classify: build
	python3 benches/studies/classify.py $${GST_CANDLE_DATA:-../shared/data}

## study-suggest: labels asked for by suggest against labels drawn by chance, on NEU: target/study/suggest.md (hours; goes on where it stopped)
study-suggest: build
	python3 benches/studies/suggest.py $${GST_CANDLE_DATA:-../shared/data}

clean:
	cargo clean
	rm -rf out
