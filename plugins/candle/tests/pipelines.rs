//! `candleoverlay` behind the element that finds what it draws, in pipelines rather than harnesses.

mod support;

use support::line::*;
use support::*;

/// White frames, which are anomalous, with nothing but the red frame drawn on them, brought to `GRAY8`.
fn framed(num_buffers: usize, caps: &str, overlay: &str) -> Vec<gst::Sample> {
    let model = brightness(None);
    Line::all(&format!(
        "videotestsrc num-buffers={num_buffers} pattern=white ! video/x-raw,{caps} ! candleanomaly model-file={} ! \
         {overlay} ! videoconvert dither=none ! video/x-raw,format=GRAY8",
        model.path().display()
    ))
}

const FRAME: &str = "candleoverlay show-heatmap=false show-regions=false show-label=false";

#[test]
fn the_overlay_draws_in_every_format_and_size() {
    for format in FORMATS {
        for (width, height) in [(64, 48), (33, 25), (4096, 64)] {
            let caps = format!("format={format},width={width},height={height}");
            let samples = framed(2, &caps, FRAME);
            assert_eq!(samples.len(), 2, "{caps}");
            for sample in samples {
                let grey = &values(&sample)[0];
                let at = |x: usize, y: usize| grey[y * width + x];
                let border = [
                    at(0, height / 2),
                    at(width - 1, height / 2),
                    at(width / 2, 0),
                    at(width / 2, height - 1),
                ];
                if format.starts_with("GRAY") {
                    // White, with a black edge.
                    let edge = [at(1, height / 2), at(width / 2, 1)];
                    assert!(
                        border.iter().all(|value| *value > 230),
                        "{caps}: {border:?} is not white"
                    );
                    assert!(edge.iter().all(|value| *value < 20), "{caps}: {edge:?} is not black");
                } else {
                    let is_red = border.iter().all(|value| (40..110).contains(value));
                    assert!(is_red, "{caps}: {border:?} is not red");
                }
                // White is 235 where the test source writes grey.
                let middle = at(width / 2, height / 2);
                assert!(middle > 230, "{caps}: {middle} in the middle is not white");
            }
        }
    }
}

#[test]
fn a_stream_of_one_frame_is_drawn_on_and_ends() {
    let caps = "format=RGB,width=64,height=48";
    let [drawn, plain] = [FRAME, "identity"].map(|overlay| framed(1, caps, overlay));
    assert_eq!((drawn.len(), plain.len()), (1, 1));
    assert_ne!(values(&drawn[0]), values(&plain[0]));
}
