//! GStreamer's video frames as the library's.

use std::sync::LazyLock;

use gst_candle::pixels::{Colorimetry, Frame, FrameMut, Matrix, PixelFormat, Range};
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoFrameRef, VideoInfo, VideoMeta, prelude::*};

/// Type of the region-of-interest metas that say what is true of a frame: for tests and eyes, not for elements that
/// find things.
pub const TRUTH: &str = "truth";

/// The parameter structure on such a meta.
pub const TRUTH_PARAM: &str = "candle-truth";

/// The formats all elements take, the one that comes first where nothing else decides first.
const FORMATS: [VideoFormat; 14] = [
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Argb,
    VideoFormat::Abgr,
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Y42b,
    VideoFormat::Y444,
    VideoFormat::Gray8,
    VideoFormat::Gray16Le,
];

/// The elements' caps: raw progressive video in system memory, in any of the formats.
pub fn caps() -> gst_video::VideoCapsBuilder<gst::caps::NoFeature> {
    gst_video::VideoCapsBuilder::new()
        .format_list(FORMATS)
        .field("interlace-mode", "progressive")
}

/// A sink and a source pad for [`caps`].
pub fn pad_templates() -> &'static [gst::PadTemplate] {
    static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
        let caps = caps().build();
        [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
            .map(|(name, direction)| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .expect("an always pad's template is valid")
            })
            .into()
    });
    &TEMPLATES
}

/// Caps with `interlace-mode=progressive` where they leave it out, which means the same.
pub fn progressive_by_default(caps: &gst::Caps) -> gst::Caps {
    let mut caps = caps.clone();
    for s in caps.make_mut().iter_mut().filter(|s| !s.has_field("interlace-mode")) {
        s.set("interlace-mode", "progressive");
    }
    caps
}

/// A mapped frame for the library to read; `white` as in [`colorimetry`].
pub fn frame<'a>(frame: &'a VideoFrameRef<&gst::BufferRef>, white: u16) -> gst_candle::Result<Frame<'a>> {
    let info = frame.info();
    let planes = frame.planes_data().into_iter().zip(lengths(frame));
    let planes = planes.map(|(plane, len)| &plane[..len.min(plane.len())]).collect();
    let (width, height) = (info.width() as usize, info.height() as usize);
    Frame::new(
        format(info)?,
        width,
        height,
        planes,
        strides(frame)?,
        colorimetry(info, white),
    )
}

/// A mapped frame for the library to write to; `white` as in [`colorimetry`].
pub fn frame_mut<'a>(
    frame: &'a mut VideoFrameRef<&mut gst::BufferRef>,
    white: u16,
) -> gst_candle::Result<FrameMut<'a>> {
    let colorimetry = colorimetry(frame.info(), white);
    let (format, strides) = (format(frame.info())?, strides(frame)?);
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let lengths = lengths(frame);
    let planes = frame.planes_data_mut().into_iter().zip(lengths).map(|(plane, len)| {
        let len = len.min(plane.len());
        &mut plane[..len]
    });
    let planes = planes.collect();
    FrameMut::new(format, width, height, planes, strides, colorimetry)
}

/// Maps a buffer to read it.
pub fn map<'a>(buffer: &'a gst::BufferRef, info: &VideoInfo) -> gst_candle::Result<VideoFrameRef<&'a gst::BufferRef>> {
    VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|_| gst_candle::Error::Invalid("the frame's memory cannot be read".into()))
}

/// Shows a buffer to the library; `white` as in [`colorimetry`].
pub fn view<T>(
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    white: u16,
    see: impl FnOnce(&Frame<'_>) -> gst_candle::Result<T>,
) -> gst_candle::Result<T> {
    see(&frame(&map(buffer, info)?, white)?)
}

/// Maps a buffer to write to it.
pub fn map_mut<'a>(
    buffer: &'a mut gst::BufferRef,
    info: &VideoInfo,
) -> gst_candle::Result<VideoFrameRef<&'a mut gst::BufferRef>> {
    VideoFrameRef::from_buffer_ref_writable(buffer, info)
        .map_err(|_| gst_candle::Error::Invalid("the frame's memory cannot be written".into()))
}

/// Draws on a buffer (`white` as in [`colorimetry`]); where somebody else reads the same memory, on a copy of it.
pub fn draw(
    buffer: &mut gst::BufferRef,
    info: &VideoInfo,
    white: u16,
    draw: impl FnOnce(&mut FrameMut<'_>),
) -> gst_candle::Result<()> {
    draw(&mut frame_mut(&mut map_mut(buffer, info)?, white)?);
    Ok(())
}

fn format(info: &VideoInfo) -> gst_candle::Result<PixelFormat> {
    let name = info.format().to_str();
    PixelFormat::from_name(name)
        .ok_or_else(|| gst_candle::Error::Invalid(format!("frames of the format {name} are not known here")))
}

/// Of each plane, the bytes from its first one to the end of the memory it is in: GStreamer believes a meta that says of planes where they are,
/// and rows of one that is wrong would lie outside of all memory.
fn lengths(frame: &impl VideoFrameExt) -> Vec<usize> {
    let buffer = frame.buffer();
    let is_told = buffer.meta::<VideoMeta>().is_some();
    let length = |&offset: &usize| {
        if !is_told {
            return buffer.size().saturating_sub(offset);
        }
        let found = buffer.find_memory(offset..=offset);
        found.map_or(0, |(memories, skip)| {
            buffer.peek_memory(memories.start).size().saturating_sub(skip)
        })
    };
    frame
        .plane_offset()
        .iter()
        .take(frame.n_planes() as usize)
        .map(length)
        .collect()
}

fn strides(frame: &impl VideoFrameExt) -> gst_candle::Result<Vec<usize>> {
    let strides = frame.plane_stride().iter().take(frame.n_planes() as usize);
    let strides: Result<_, _> = strides.map(|&stride| usize::try_from(stride)).collect();
    strides.map_err(|_| gst_candle::Error::Invalid("frames stored from the bottom up cannot be read".into()))
}

/// How the values are to be read; where the caps leave it open, grey is full range and YUV limited, by BT.601 up to
/// 576 rows and BT.709 above. `white` is the code of GRAY16_LE that is white, 0 what the caps say.
pub fn colorimetry(info: &VideoInfo, white: u16) -> Colorimetry {
    let given = info.colorimetry();
    let matrix = match given.matrix() {
        VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => Matrix::Bt601,
        VideoColorMatrix::Bt709 | VideoColorMatrix::Smpte240m => Matrix::Bt709,
        VideoColorMatrix::Bt2020 => Matrix::Bt2020,
        _ if info.height() > 576 => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    let range = match given.range() {
        _ if white > 0 && info.format() == VideoFormat::Gray16Le => Range::Codes(white),
        VideoColorRange::Range0_255 => Range::Full,
        VideoColorRange::Range16_235 => Range::Limited,
        _ if info.format_info().is_gray() => Range::Full,
        _ => Range::Limited,
    };
    Colorimetry { matrix, range }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(caps: &str) -> Colorimetry {
        gst::init().expect("GStreamer starts");
        let caps: gst::Caps = format!("video/x-raw,framerate=1/1,{caps}").parse().expect("valid caps");
        colorimetry(&VideoInfo::from_caps(&caps).expect("fixed caps"), 4095)
    }

    #[test]
    fn colorimetry_comes_from_the_caps_and_else_from_custom() {
        let pair = |caps| {
            let c = of(caps);
            (c.matrix, c.range)
        };
        assert_eq!(
            pair("format=I420,width=720,height=576"),
            (Matrix::Bt601, Range::Limited)
        );
        assert_eq!(
            pair("format=I420,width=1280,height=720"),
            (Matrix::Bt709, Range::Limited)
        );
        assert_eq!(
            pair("format=NV12,width=64,height=48,colorimetry=bt709"),
            (Matrix::Bt709, Range::Limited)
        );
        assert_eq!(
            pair("format=Y444,width=64,height=48,colorimetry=bt2020"),
            (Matrix::Bt2020, Range::Limited)
        );
        assert_eq!(
            pair("format=I420,width=64,height=48,colorimetry=1:4:0:0"),
            (Matrix::Bt601, Range::Full)
        );
        assert_eq!(of("format=GRAY8,width=64,height=48").range, Range::Full);
        assert_eq!(
            of("format=GRAY8,width=64,height=48,colorimetry=2:4:5:1").range,
            Range::Limited
        );
        assert_eq!(of("format=RGB,width=64,height=48").range, Range::Full);
        assert_eq!(of("format=GRAY16_LE,width=64,height=48").range, Range::Codes(4095));
    }

    #[test]
    fn caps_without_a_scan_are_progressive_and_others_stay() {
        gst::init().expect("GStreamer starts");
        let template = pad_templates()[0].caps();
        let caps = |scan: &str| {
            format!("video/x-raw,format=RGB,width=8,height=8,framerate=1/1{scan}")
                .parse()
                .expect("caps")
        };
        assert!(progressive_by_default(&caps("")).is_subset(template));
        assert!(!progressive_by_default(&caps(",interlace-mode=interleaved")).can_intersect(template));
    }
}
