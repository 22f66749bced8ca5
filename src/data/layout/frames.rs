//! Video frames held in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::VideoLimits;
use crate::pixels::Image;
use crate::{Error, Result};

/// Most memory that one video's frames may take.
const MAX_BYTES: usize = 4 << 30;
/// URI schemes that never end by themselves.
const LIVE: [&str; 9] = [
    "rtsp", "rtsps", "rtspt", "rtspu", "v4l2", "udp", "srt", "rtmp", "testbin",
];

/// Decoded frames by video and index. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Frames(BTreeMap<String, Arc<BTreeMap<usize, Frame>>>);

/// A frame as it was decoded, 8 bits a value: a quarter of the memory.
#[derive(Debug)]
struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    data: Vec<u8>,
}

impl Frames {
    pub fn extend(&mut self, other: Frames) {
        self.0.extend(other.0);
    }

    /// `[width, height]`.
    pub fn size(&self, video: &str, index: usize) -> Option<[usize; 2]> {
        let frame = self.0.get(video)?.get(&index)?;
        Some([frame.width, frame.height])
    }

    pub fn get(&self, video: &str, index: usize) -> Option<Image> {
        let frame = self.0.get(video)?.get(&index)?;
        let data = frame.data.iter().map(|&v| f32::from(v) / 255.0).collect();
        Some(Image {
            channels: frame.channels,
            height: frame.height,
            width: frame.width,
            data,
        })
    }

    pub fn hash(&self, video: &str, index: usize, hash: &mut Sha256) {
        if let Some(frame) = self.0.get(video).and_then(|frames| frames.get(&index)) {
            hash.update([frame.channels, frame.height, frame.width].map(|n| n as u64 as u8));
            hash.update(&frame.data);
        }
    }

    /// Decodes a video within the limits and keeps its frames; returns their indices.
    pub fn decode(&mut self, location: &str, limits: VideoLimits) -> Result<Vec<usize>> {
        let live = location
            .split_once("://")
            .is_some_and(|(scheme, _)| LIVE.contains(&scheme));
        if live && limits.max == 0 {
            return Err(Error::data(
                location,
                "this source does not end by itself: set how many frames to take",
            ));
        }
        let every = limits.every.max(1);
        let mut frames = BTreeMap::new();
        let mut bytes = 0;
        for (index, image) in images(location)?.enumerate() {
            let image = image?;
            if index % every == 0 {
                let data: Vec<u8> = image
                    .data
                    .iter()
                    .map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
                    .collect();
                bytes += data.len();
                if bytes > MAX_BYTES {
                    let reason = format!("more than 4 GiB of frames after {}: take fewer of them", frames.len());
                    return Err(Error::data(location, reason));
                }
                frames.insert(
                    index,
                    Frame {
                        channels: image.channels,
                        height: image.height,
                        width: image.width,
                        data,
                    },
                );
            }
            if limits.max > 0 && frames.len() == limits.max {
                break;
            }
        }
        if frames.is_empty() {
            return Err(Error::data(location, "no frame in this video could be decoded"));
        }
        let indices = frames.keys().copied().collect();
        self.0.insert(location.to_owned(), Arc::new(frames));
        Ok(indices)
    }
}

#[cfg(feature = "video")]
fn images(location: &str) -> Result<impl Iterator<Item = Result<Image>>> {
    Ok(crate::data::video::VideoReader::open(location)?.map(|frame| frame.map(|frame| frame.image)))
}

#[cfg(not(feature = "video"))]
fn images(location: &str) -> Result<std::iter::Empty<Result<Image>>> {
    Err(Error::data(
        location,
        "this build reads no videos: build with the feature `video`",
    ))
}
