//! What to compile for.

use std::str::FromStr;

use mlc_diag::Diagnostic;
use mlc_ir::{Device, DeviceKind};

/// Where everything goes that the program does not place itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// A CUDA device if one is usable, else the CPU.
    #[default]
    Auto,
    Cpu,
    Cuda(u32),
}

impl Target {
    /// The device, where this build can run on it.
    ///
    /// # Errors
    /// For a device that is missing (E0590).
    pub fn device(self) -> Result<Device, Diagnostic> {
        match self {
            // This build has no CUDA back end, so no CUDA device is ever usable.
            Target::Auto | Target::Cpu => Ok(Device::CPU),
            Target::Cuda(n) => Err(missing(Device::cuda(n))),
        }
    }
}

/// The error for a device that cannot be used.
pub(crate) fn missing(device: Device) -> Diagnostic {
    let what = match device.kind {
        DeviceKind::Cuda => "this build of mlc has no CUDA back end yet",
        DeviceKind::Cpu => "there is no such device",
    };
    Diagnostic::error("E0590", format!("cannot run on {device}: {what}"))
        .hint("use `--target cpu`; a program for several GPUs runs on logical CPUs: `--device cuda:0=cpu:0`")
}

impl FromStr for Target {
    type Err = Diagnostic;

    fn from_str(s: &str) -> Result<Target, Diagnostic> {
        if s == "auto" {
            return Ok(Target::Auto);
        }
        match s.parse::<Device>() {
            Ok(Device { kind: DeviceKind::Cpu, index: 0 }) => Ok(Target::Cpu),
            Ok(Device { kind: DeviceKind::Cuda, index }) => Ok(Target::Cuda(index)),
            _ => Err(Diagnostic::error("E0901", format!("`{s}` is not a target"))
                .hint("targets are auto, cpu, cuda and cuda:N")),
        }
    }
}
