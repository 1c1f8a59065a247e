//! What the CPU can do, found at run time, and what of it to use.

use std::fmt;

/// The highest instruction set that code may use. Results are the same on every level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The target's baseline (x86-64: SSE2).
    Portable,
    /// AVX2, FMA and what came with them: x86-64-v3.
    Avx2,
    /// AVX-512 F, BW, DQ and VL besides: x86-64-v4.
    Avx512,
}

/// The instruction sets that are used, at most what the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CpuFeatures {
    pub level: Level,
}

/// Names a level: `portable`, `avx2` or `avx512`.
pub const FEATURES_VARIABLE: &str = "MLC_CPU_FEATURES";

impl Level {
    pub const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// The generator's name for what the level promises. It is used as it stands, whatever else this machine
    /// has: code of a level runs on every machine that offers the level.
    pub fn preset(self) -> Option<&'static str> {
        match self {
            Level::Portable => None,
            Level::Avx2 => Some("x86-64-v3"),
            Level::Avx512 => Some("skylake-avx512"),
        }
    }

    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|l| l.name() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl CpuFeatures {
    /// What the machine has.
    pub fn detect() -> CpuFeatures {
        CpuFeatures { level: best() }
    }

    /// What the machine has, lowered to what [`FEATURES_VARIABLE`] names. A name that is unknown or asks for more
    /// than there is is an error that lists what there is.
    pub fn from_env() -> Result<CpuFeatures, String> {
        match std::env::var(FEATURES_VARIABLE) {
            Ok(name) if !name.is_empty() => CpuFeatures::limited(&name),
            _ => Ok(CpuFeatures::detect()),
        }
    }

    fn limited(name: &str) -> Result<CpuFeatures, String> {
        let here: Vec<&str> = CpuFeatures::available().iter().map(|f| f.level.name()).collect();
        let level = Level::from_name(name).filter(|l| *l <= best());
        level
            .map(|level| CpuFeatures { level })
            .ok_or_else(|| format!("{FEATURES_VARIABLE}={name}: this machine offers {}", here.join(", ")))
    }

    /// Every level that the machine can run, lowest first.
    pub fn available() -> Vec<CpuFeatures> {
        Level::ALL.into_iter().filter(|l| *l <= best()).map(|level| CpuFeatures { level }).collect()
    }

    pub fn fma(self) -> bool {
        self.level >= Level::Avx2
    }
}

impl fmt::Display for CpuFeatures {
    /// `x86_64 avx2+fma`, for `mlc devices`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets = match self.level {
            Level::Portable => "baseline",
            Level::Avx2 => "avx2+fma",
            Level::Avx512 => "avx512",
        };
        write!(f, "{} {sets}", std::env::consts::ARCH)
    }
}

#[cfg(target_arch = "x86_64")]
fn best() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("cmpxchg16b");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (_, true) => Level::Avx512,
        (true, _) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn best() -> Level {
    Level::Portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_limits() {
        for l in Level::ALL {
            assert_eq!(Level::from_name(l.name()), Some(l));
        }
        assert_eq!(CpuFeatures::limited("portable").map(|f| f.level), Ok(Level::Portable));
        let e = CpuFeatures::limited("avx9").unwrap_err();
        assert!(e.contains("portable"), "{e}");
        assert_eq!(CpuFeatures::available().last(), Some(&CpuFeatures::detect()));
    }
}
