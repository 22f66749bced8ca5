//! Where the bytes of every pixel format lie.

use super::PixelFormat;
use crate::model::Color;

/// How one component of a format lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    /// The plane it is in.
    pub plane: usize,
    /// Bytes from the start of a row to its first value.
    pub offset: usize,
    /// Bytes from value to value.
    pub step: usize,
    /// Powers of two by which it is coarser than the frame, across and down.
    pub shift: [u32; 2],
}

impl PixelFormat {
    /// All of them.
    pub const ALL: [PixelFormat; 14] = [
        Self::Gray8,
        Self::Gray16Le,
        Self::Rgb,
        Self::Bgr,
        Self::Rgbx,
        Self::Bgrx,
        Self::Rgba,
        Self::Bgra,
        Self::Argb,
        Self::Abgr,
        Self::I420,
        Self::Nv12,
        Self::Y42b,
        Self::Y444,
    ];

    /// GStreamer's name, such as `I420`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gray8 => "GRAY8",
            Self::Gray16Le => "GRAY16_LE",
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Rgbx => "RGBx",
            Self::Bgrx => "BGRx",
            Self::Rgba => "RGBA",
            Self::Bgra => "BGRA",
            Self::Argb => "ARGB",
            Self::Abgr => "ABGR",
            Self::I420 => "I420",
            Self::Nv12 => "NV12",
            Self::Y42b => "Y42B",
            Self::Y444 => "Y444",
        }
    }

    /// The format GStreamer calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// 1 for grey formats, 3 for the others; alpha is not counted.
    pub fn components(self) -> usize {
        self.color().channels()
    }

    /// Grey for grey formats, else RGB.
    pub fn color(self) -> Color {
        match self {
            Self::Gray8 | Self::Gray16Le => Color::Gray,
            _ => Color::Rgb,
        }
    }

    /// Whether components are Y, U, V.
    pub fn is_yuv(self) -> bool {
        matches!(self, Self::I420 | Self::Nv12 | Self::Y42b | Self::Y444)
    }

    /// Planes in memory.
    pub fn planes(self) -> usize {
        match self {
            Self::I420 | Self::Y42b | Self::Y444 => 3,
            Self::Nv12 => 2,
            _ => 1,
        }
    }

    /// `[width, height]` of a component of a frame of `width` x `height`: chroma of subsampled formats is rounded up.
    pub fn component_size(self, component: usize, width: usize, height: usize) -> [usize; 2] {
        let [across, down] = self.component(component).shift;
        [width.div_ceil(1 << across), height.div_ceil(1 << down)]
    }

    /// Bytes of a row without padding, and rows, of plane `plane` of a frame of `width` x `height`.
    pub fn plane_size(self, plane: usize, width: usize, height: usize) -> [usize; 2] {
        let first = (0..self.components())
            .find(|&i| self.component(i).plane == plane)
            .unwrap_or(0);
        let [columns, rows] = self.component_size(first, width, height);
        [columns * self.component(first).step, rows]
    }

    /// Where component `component` (R, G, B or Y, U, V or grey) lies.
    pub(super) fn component(self, component: usize) -> Component {
        let packed = |step, offsets: [usize; 3]| Component {
            plane: 0,
            offset: offsets[component],
            step,
            shift: [0, 0],
        };
        let planar = |shift| Component {
            plane: component,
            offset: 0,
            step: 1,
            shift: if component == 0 { [0, 0] } else { shift },
        };
        match self {
            Self::Gray8 => packed(1, [0; 3]),
            Self::Gray16Le => packed(2, [0; 3]),
            Self::Rgb => packed(3, [0, 1, 2]),
            Self::Bgr => packed(3, [2, 1, 0]),
            Self::Rgbx | Self::Rgba => packed(4, [0, 1, 2]),
            Self::Bgrx | Self::Bgra => packed(4, [2, 1, 0]),
            Self::Argb => packed(4, [1, 2, 3]),
            Self::Abgr => packed(4, [3, 2, 1]),
            Self::I420 => planar([1, 1]),
            Self::Y42b => planar([1, 0]),
            Self::Y444 => planar([0, 0]),
            Self::Nv12 if component == 0 => planar([0, 0]),
            Self::Nv12 => Component {
                plane: 1,
                offset: component - 1,
                step: 2,
                shift: [1, 1],
            },
        }
    }

    /// Position of the alpha or padding byte among a pixel's four.
    pub(super) fn spare_byte(self) -> Option<usize> {
        match self {
            Self::Rgbx | Self::Rgba | Self::Bgrx | Self::Bgra => Some(3),
            Self::Argb | Self::Abgr => Some(0),
            _ => None,
        }
    }
}
