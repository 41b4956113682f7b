//! Files that build scripts look at.

use std::{fs, path::Path};

use super::error::{Error, Result};

/// Writes a file if it is not what it should be: build scripts look at times.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).map_err(|error| Error::file(path, error))?;
    }
    Ok(())
}

/// [`write()`] of a program.
pub fn executable(path: &Path, text: &str) -> Result<()> {
    write(path, text)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .map_err(|error| Error::file(path, error))?;
    }
    Ok(())
}
