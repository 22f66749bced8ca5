//! Results written and read back.

use super::*;

fn anomaly() -> AnomalyResult {
    AnomalyResult {
        score: 0.25,
        threshold: 0.125,
        normalized: 2.0 / 3.0,
        anomalous: true,
        state: false,
        stale: true,
        size: [640, 480],
        regions: vec![
            Region {
                rect: [1, 2, 3, 4],
                area: 5,
                score: 0.25,
            },
            Region {
                rect: [6, 7, 8, 9],
                area: 10,
                score: 0.2,
            },
        ],
        map: HeatMap {
            data: gst::Buffer::from_slice([1u8, 2, 3, 4, 5, 6]),
            size: [3, 2],
            covers: [0.5, 1.5, 2.5, 3.5],
        },
    }
}

fn labels(label: &str) -> Labels {
    Labels {
        label: label.into(),
        confidence: 0.75,
        known: true,
        top: vec![(label.into(), 0.75), ("other".into(), 0.25)],
    }
}

#[test]
fn every_kind_reads_back_what_it_wrote_and_keeps_the_others() {
    gst::init().expect("GStreamer starts");
    register();
    register();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().expect("the only reference");
    assert!(DenoiseResult::read(buffer).is_none());

    let classified = ClassifyResult {
        labels: labels("scratch"),
        stale: false,
        size: [64, 48],
        regions: vec![LabelledRegion {
            rect: [1, 2, 3, 4],
            labels: labels("dent"),
        }],
    };
    let denoised = DenoiseResult {
        noise_level: 12.5,
        strength: 0.5,
        stale: false,
    };
    anomaly().attach(buffer);
    classified.attach(buffer);
    denoised.attach(buffer);
    AnomalyResult {
        stale: false,
        ..anomaly()
    }
    .attach(buffer);

    let found = AnomalyResult::read(buffer).expect("just attached");
    assert_eq!(found.regions, anomaly().regions);
    assert_eq!(
        (found.score, found.threshold, found.normalized),
        (0.25, 0.125, 2.0 / 3.0)
    );
    assert_eq!((found.anomalous, found.state, found.stale), (true, false, false));
    assert_eq!(
        (found.size, found.map.size, found.map.covers),
        ([640, 480], [3, 2], [0.5, 1.5, 2.5, 3.5])
    );
    assert_eq!(&*found.map.data.map_readable().expect("readable"), &[1, 2, 3, 4, 5, 6]);
    assert_eq!(ClassifyResult::read(buffer), Some(classified));
    assert_eq!(DenoiseResult::read(buffer), Some(denoised));
    assert_eq!(buffer.iter_meta::<gst::Meta>().count(), 1);
    let meta = gst::meta::CustomMeta::from_buffer(buffer, META).expect("there");
    let fields: Vec<_> = meta.structure().fields().map(|field| field.to_string()).collect();
    assert_eq!(fields, ["anomaly", "classify", "denoise"]);
}

#[test]
fn a_copy_of_the_buffer_keeps_the_result() {
    gst::init().expect("GStreamer starts");
    register();
    let mut buffer = gst::Buffer::with_size(4).expect("memory");
    anomaly().attach(buffer.get_mut().expect("the only reference"));
    let copy = buffer
        .copy_region(gst::BufferCopyFlags::META, ..)
        .expect("metas are copied");
    assert_eq!(AnomalyResult::read(&copy).expect("kept").regions.len(), 2);
}

#[test]
fn rectangles_follow_the_frame() {
    assert_eq!(
        scaled([10.0, 20.0, 30.0, 40.0], [100, 200], [50, 400]),
        [5.0, 40.0, 15.0, 80.0]
    );
}
