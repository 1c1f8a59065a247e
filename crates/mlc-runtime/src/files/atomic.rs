//! Writing a file as a whole or not at all: into a temporary one beside it, to the disk, then renamed.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use mlc_diag::Diagnostic;

use super::error;

/// Writes a file. Whatever goes wrong, what stood at `path` before stands there still; when this
/// returns `Ok`, the new content is on the disk. What is no regular file (`/dev/stdout`) is written
/// directly. A symbolic link is followed.
pub fn atomic_write(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Diagnostic> {
    let existed = path.is_file();
    replace(path, true, write).map_err(|e| error::unwritable(path, &e, existed))
}

pub(super) fn replace(
    path: &Path,
    sync: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let (target, mode) = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if !meta.is_file() => return write_directly(path, write),
        Ok(meta) if meta.permissions().readonly() => return Err(io::ErrorKind::PermissionDenied.into()),
        Ok(meta) => (std::fs::canonicalize(path)?, Some(meta.permissions())),
        Err(_) => (path.to_path_buf(), None),
    };
    let folder = folder_of(&target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mlc-").suffix(".tmp");
    if let Some(mode) = mode.or_else(default_permissions) {
        builder.permissions(mode);
    }
    let temp = builder.tempfile_in(&folder)?;
    let (file, temp_path) = temp.into_parts();
    let mut out = BufWriter::with_capacity(1 << 18, file);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if sync {
        file.sync_all()?;
    }
    drop(file);
    temp_path.persist(&target).map_err(|e| e.error)?;
    if sync {
        sync_folder(&folder);
    }
    Ok(())
}

fn write_directly(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::options().write(true).open(path)?);
    write(&mut out)?;
    out.flush()
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// As for any new file: the umask takes away from it.
fn default_permissions() -> Option<Permissions> {
    #[cfg(unix)]
    return Some(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    #[cfg(not(unix))]
    None
}

/// Makes the renaming durable where folders can be synced; the content is safe anyway.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(f) = File::open(folder)
    {
        let _ = f.sync_all();
    }
}
