//! What to compile for.

use std::str::FromStr;

use mlc_cpu::CpuBackend;
use mlc_diag::Diagnostic;
use mlc_ir::{Device, DeviceKind};
use mlc_runtime::exec::Backend;

use crate::Error;

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

/// The error for a device that cannot be used: what was looked for and where, and how to get it.
pub(crate) fn missing(device: Device) -> Diagnostic {
    let hint = "use `--target cpu`; a program for several GPUs runs on logical CPUs: `--device cuda:0=cpu:0`";
    if device.kind == DeviceKind::Cpu {
        return Diagnostic::error("E0590", format!("cannot run on {device}: there is no such device"))
            .hint(hint);
    }
    let probe = mlc_cuda::probe();
    let why = match &probe.devices {
        Err(why) => why.clone(),
        Ok(found) if found.len() <= device.index as usize => {
            format!("this machine has {} CUDA devices", found.len())
        }
        Ok(_) => "this build of mlc has no CUDA back end yet".to_string(),
    };
    let mut d = Diagnostic::error("E0590", format!("cannot run on {device}: {why}"));
    for library in probe.libraries() {
        let place = match &library.found {
            Some(mlc_cuda::Found::At(path)) => path.display().to_string(),
            Some(mlc_cuda::Found::Loader) => "found by the system's loader".to_string(),
            None => format!("not found; to get it: {}", library.advice),
        };
        d = d.note(format!("{} ({}): {place}", library.file, library.purpose));
    }
    let folders: Vec<String> = probe.folders.iter().map(|f| f.display().to_string()).collect();
    d = d.note(format!("looked for in: the system's loader, {}", folders.join(", ")));
    if probe.devices.is_err() {
        d = d.note("besides, this build of mlc has no CUDA back end yet");
    }
    d.hint(hint)
}

/// What machine code is made for on the CPU.
///
/// # Errors
/// Where the environment asks for an instruction set that this machine does not have.
pub fn cpu_description() -> Result<String, Error> {
    Ok(CpuBackend::from_env(false, None).map_err(Error::plain)?.describe())
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
