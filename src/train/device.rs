//! The device to train on.

use candle_core::Device;
use candle_core::utils::cuda_is_available;

use crate::exec::DeviceSpec;
use crate::{Error, Result};

/// Opens it. An error says why a device cannot be had.
pub fn open(spec: DeviceSpec) -> Result<Device> {
    let cuda = |number| {
        if !cuda_is_available() {
            let reason = "this program was built without CUDA (`--features cuda`)";
            return Err(Error::Device {
                device: spec.to_string(),
                reason: reason.into(),
            });
        }
        Device::new_cuda(number).map_err(|e| Error::Device {
            device: spec.to_string(),
            reason: e.to_string(),
        })
    };
    match spec {
        DeviceSpec::Cpu => Ok(Device::Cpu),
        DeviceSpec::Cuda(number) => cuda(number),
        DeviceSpec::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
    }
}
