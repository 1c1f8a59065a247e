//! What of CUDA this machine has: driver, devices, NVRTC, cuBLASLt.

use std::path::PathBuf;

use cudarc::driver::{result, sys};

use crate::search;

/// What was found.
#[derive(Debug, Clone)]
pub struct Probe {
    pub driver: Library,
    /// The version of CUDA that the driver supports, as 13000 for 13.0.
    pub driver_version: Option<i32>,
    pub nvrtc: Library,
    pub cublaslt: Library,
    /// The devices, or why there are none.
    pub devices: Result<Vec<Gpu>, String>,
    /// Where the libraries were looked for, beside the system's loader.
    pub folders: Vec<PathBuf>,
}

/// A shared library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// `libnvrtc.so`
    pub file: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    pub found: Option<Found>,
    /// How to get it.
    pub advice: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    At(PathBuf),
    /// The system's loader finds it by name.
    Loader,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    pub bytes: usize,
    /// Compute capability: (9, 0) for sm_90.
    pub capability: (i32, i32),
}

/// Looks for everything. Opens libraries, so it takes a few milliseconds; with a GPU, starting the
/// driver takes longer.
pub fn probe() -> Probe {
    let folders = search::folders();
    let driver = driver_present();
    let file = |name| search::library(name, &folders).map(Found::At);
    Probe {
        driver: Library {
            file: "libcuda.so.1",
            purpose: "the driver",
            found: driver.then(|| file("cuda").unwrap_or(Found::Loader)),
            advice: "install NVIDIA's driver for this kernel (in a container: start it with --gpus all)",
        },
        driver_version: if driver { driver_version() } else { None },
        nvrtc: Library {
            file: "libnvrtc.so",
            purpose: "compiles kernels",
            found: file("nvrtc").or_else(|| nvrtc_present().then_some(Found::Loader)),
            advice: "pip install nvidia-cuda-nvrtc, or install the CUDA toolkit, or set MLC_CUDA_LIB_DIR",
        },
        cublaslt: Library {
            file: "libcublasLt.so",
            purpose: "matrix products",
            found: file("cublasLt"),
            advice: "pip install nvidia-cublas, or install the CUDA toolkit, or set MLC_CUDA_LIB_DIR",
        },
        devices: if driver { devices() } else { Err("there is no driver".to_string()) },
        folders,
    }
}

impl Probe {
    pub fn libraries(&self) -> [&Library; 3] {
        [&self.driver, &self.nvrtc, &self.cublaslt]
    }
}

fn driver_present() -> bool {
    // SAFETY: opening NVIDIA's library runs its initialisers, which any program may.
    unsafe { sys::is_culib_present() }
}

fn nvrtc_present() -> bool {
    // SAFETY: as for the driver.
    unsafe { cudarc::nvrtc::sys::is_culib_present() }
}

/// Only with a driver: cudarc panics without its library.
fn driver_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: the library is there, and the pointer is to an integer that lives through the call.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().ok().map(|()| version)
}

/// Only with a driver.
fn devices() -> Result<Vec<Gpu>, String> {
    let failed = |what: &str, e: result::DriverError| format!("{what}: {}", code(e));
    result::init().map_err(|e| failed("the driver does not start", e))?;
    let count = result::device::get_count().map_err(|e| failed("the devices cannot be counted", e))?;
    (0..count).map(|i| device(i).map_err(|e| failed(&format!("cuda:{i} cannot be asked"), e))).collect()
}

fn device(index: i32) -> Result<Gpu, result::DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let device = result::device::get(index)?;
    let name = result::device::get_name(device)?;
    // SAFETY: the device is one that the driver gave.
    let (bytes, major, minor) = unsafe {
        (
            result::device::total_mem(device)?,
            result::device::get_attribute(device, MAJOR)?,
            result::device::get_attribute(device, MINOR)?,
        )
    };
    Ok(Gpu { name, bytes, capability: (major, minor) })
}

/// The name of a driver error, such as `CUDA_ERROR_NO_DEVICE`.
fn code(e: result::DriverError) -> String {
    format!("{:?}", e.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On any machine, with or without CUDA: an answer, and the parts agree.
    #[test]
    fn never_panics() {
        let p = probe();
        assert_eq!(p.driver.found.is_some(), driver_present());
        if p.driver.found.is_none() {
            assert!(p.devices.is_err() && p.driver_version.is_none());
        }
        assert!(p.libraries().iter().all(|l| !l.advice.is_empty()));
    }
}
