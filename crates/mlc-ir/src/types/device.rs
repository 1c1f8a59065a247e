//! Devices: part of every value's type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeviceKind {
    Cpu,
    Cuda,
}

/// `cpu:0`, `cuda:1`. Logical CPUs have memory of their own, so that a program for several devices
/// runs anywhere. `cpu` and `cuda` alone mean index 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Device {
    pub kind: DeviceKind,
    pub index: u32,
}

impl Device {
    pub const CPU: Device = Device { kind: DeviceKind::Cpu, index: 0 };
    pub const CUDA: Device = Device { kind: DeviceKind::Cuda, index: 0 };

    pub fn cpu(index: u32) -> Device {
        Device { kind: DeviceKind::Cpu, index }
    }

    pub fn cuda(index: u32) -> Device {
        Device { kind: DeviceKind::Cuda, index }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
        };
        write!(f, "{kind}:{}", self.index)
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(s: &str) -> Result<Device, String> {
        let (kind, index) = s.split_once(':').unwrap_or((s, "0"));
        let kind = match kind {
            "cpu" => DeviceKind::Cpu,
            "cuda" => DeviceKind::Cuda,
            _ => return Err(format!("`{s}` is not a device: write cpu, cuda, cpu:N or cuda:N")),
        };
        let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
        match index.parse() {
            Ok(index) if digits => Ok(Device { kind, index }),
            _ => Err(format!("`{s}` is not a device: the index after `:` must be a small number")),
        }
    }
}
