//! Networks as ONNX and from ONNX: <https://onnx.ai/onnx/operators>.

mod proto;
mod read;
mod write;

pub use read::{Beside, Imported, read};
pub use write::Axis;
