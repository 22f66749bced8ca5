//! Video through GStreamer: whatever it can play.

use crate::Result;
use crate::pixels::Image;

/// One decoded frame.
#[derive(Debug, Clone)]
pub struct VideoFrame {
    /// The picture, grey or RGB by what the video is.
    pub image: Image,
    /// Time from the start in nanoseconds, where it is known.
    pub time_ns: Option<u64>,
}

/// Frames of a video file or URI, in order, as fast as they are taken.
pub struct VideoReader {}

impl VideoReader {
    /// Opens a path or URI. Fails when there is no such file, no video in it, or no decoder for it, and says which.
    pub fn open(location: &str) -> Result<Self> {
        unimplemented!("{location}")
    }
}

impl Iterator for VideoReader {
    /// An error where the stream breaks off; it is the last item then.
    type Item = Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}

/// Writes frames of one size to a video file: MP4 (H.264 where an encoder is installed, else MPEG-4) or AVI (Motion JPEG), by the
/// extension.
pub struct VideoWriter {}

impl VideoWriter {
    /// Starts the file. `fps` is a fraction.
    pub fn create(path: &std::path::Path, width: usize, height: usize, fps: (i32, i32)) -> Result<Self> {
        unimplemented!("{} {width} {height} {fps:?}", path.display())
    }

    /// Adds a frame, grey or RGB.
    pub fn write(&mut self, image: &Image) -> Result<()> {
        unimplemented!("{}", image.width)
    }

    /// Ends the file. Dropped without this, the file is removed.
    pub fn finish(self) -> Result<()> {
        unimplemented!()
    }
}
