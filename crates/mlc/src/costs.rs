//! The cost table of this machine, as `mlc devices --calibrate` measures it and keeps it for the user.
//!
//! The file is JSON, one for each level of code, with the name of the CPU that it was measured on. It decides how
//! kernels are cut into chunks and tiles, and no bit of any result. The library never looks for it by itself:
//! [`Compiler::costs`](crate::Compiler::costs) takes a table, and the command line gives it the user's.

use std::path::{Path, PathBuf};

use mlc_cpu::{Costs, CpuFeatures, calibrate};
use mlc_diag::Diagnostic;
use mlc_runtime::files::{Cache, atomic_write};
use serde::{Deserialize, Serialize};

/// Of the file's format and of what its figures mean.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    cpu: String,
    level: String,
    costs: Costs,
}

/// What this machine's processor calls itself.
pub fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |l: &str| l.split_once(':').map(|(_, v)| v.trim().to_string());
    let named = info.lines().find(|l| l.starts_with("model name")).and_then(field);
    named.unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// Where the user's table for code of this machine lies, or would lie: `costs-LEVEL.json` in mlc's cache folder
/// (`MLC_CACHE_DIR`); none where there is no such folder.
///
/// # Errors
/// E0804: the environment asks for an instruction set that this machine does not have.
pub fn user_table() -> Result<Option<PathBuf>, Diagnostic> {
    let name = format!("costs-{}.json", features()?.level);
    Ok(Cache::user().folder().map(|f| f.join(name)))
}

/// The table at `path`, if there is a file.
///
/// # Errors
/// W0901, a warning: the file cannot be read, is damaged, or was made on another CPU, for another level, or by a
/// build that measured something else. The built-in table then is as good as any.
pub fn read(path: &Path) -> Result<Option<Costs>, Diagnostic> {
    let unused = |why: String| {
        Diagnostic::warning("W0901", format!("the table of costs `{}` is not used: {why}", path.display()))
            .hint("measure this machine: `mlc devices --calibrate`; or delete the file")
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unused(e.to_string())),
    };
    let format = serde_json::from_str::<serde_json::Value>(&text)
        .map_err(|e| unused(format!("it is damaged: {e}")))?
        .get("format")
        .and_then(serde_json::Value::as_u64);
    if format.is_some_and(|f| f != u64::from(FORMAT)) {
        return Err(unused("another build of mlc made it".into()));
    }
    let file: File = serde_json::from_str(&text).map_err(|e| unused(format!("it is damaged: {e}")))?;
    let (cpu, level) = (cpu_name(), features()?.level);
    if file.cpu != cpu {
        return Err(unused(format!("it is of another CPU, `{}`; this is `{cpu}`", file.cpu)));
    }
    if file.level != level.name() {
        return Err(unused(format!("it is for {}, this code is for {level}", file.level)));
    }
    calibrate::check(&file.costs).map_err(|why| unused(format!("it is damaged: {why}")))?;
    Ok(Some(file.costs))
}

/// Measures this machine for about three seconds, with all threads that the process may use.
///
/// # Errors
/// If memory cannot be had.
pub fn measure() -> Result<Costs, Diagnostic> {
    calibrate::measure(features()?, mlc_runtime::exec::Pool::available())
}

/// Writes a table for [`read`]; its folder is made where it is missing.
///
/// # Errors
/// E0712: the file cannot be written.
pub fn write(path: &Path, costs: Costs) -> Result<(), Diagnostic> {
    let level = features()?.level.name().to_string();
    let file = File { format: FORMAT, cpu: cpu_name(), level, costs };
    let text = serde_json::to_string_pretty(&file)
        .map_err(|e| Diagnostic::bug(format!("a table of costs cannot be written as JSON: {e}")))?;
    if let Some(folder) = path.parent() {
        // What is wrong with the folder, writing says.
        let _ = std::fs::create_dir_all(folder);
    }
    atomic_write(path, |w| std::io::Write::write_all(w, format!("{text}\n").as_bytes()))
}

fn features() -> Result<CpuFeatures, Diagnostic> {
    mlc_cpu::backend::features_from_env()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("costs.json");
        std::fs::write(&path, text).unwrap();
        let d = read(&path).expect_err(text);
        assert_eq!(d.code, "W0901");
        d.title
    }

    #[test]
    fn tables_round_trip_and_others_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("costs.json");
        assert_eq!(read(&path), Ok(None));
        let costs = Costs { grain_ns: 12_345, ..Costs::default() };
        write(&path, costs).unwrap();
        assert_eq!(read(&path), Ok(Some(costs)));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(why(&text[..text.len() / 2]).contains("damaged"));
        assert!(why("").contains("damaged"));
        assert!(why("{\"format\": 1}").contains("damaged"));
        assert!(why("{\"format\": 7, \"of\": \"tomorrow\"}").contains("another build"));
        assert!(why(&text.replace("\"grain_ns\": 12345", "\"grain_ns\": 0")).contains("grain_ns"));
        assert!(why(&text.replace("\"grain_ns\": 12345", "\"grain_ns\": -5")).contains("damaged"));
        assert!(why(&text.replace(&cpu_name(), "another one")).contains("another CPU"));
        let level = features().unwrap().level.name();
        assert!(why(&text.replace(&format!("\"{level}\""), "\"avx9\"")).contains("for avx9"));
        assert!(why(&text.replace("\"cheap\"", "\"cheep\"")).contains("damaged"));
    }
}
