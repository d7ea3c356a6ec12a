//! A socket in the file system: bound where nobody listens, with the rights that it shall have from its first
//! moment, and removed in the end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A bound Unix socket. Its file is removed when it is dropped.
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, to know it from one that took its place.
    file: (u64, u64),
}

impl UnixSocket {
    /// Binds `path`; who may connect is said by `mode`, as of a file: 0o600 is this user alone. What a program that
    /// ended badly left there is removed.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens there, `AlreadyExists` where the file is no socket; else what the system
    /// says. Needs the context of a tokio runtime.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        refuse_taken(path)?;
        // Bound under another name and moved: nobody finds it before its rights are set, and what was left behind
        // is replaced in one step.
        let new = beside(path);
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        let moved = fs::set_permissions(&new, fs::Permissions::from_mode(mode)).and_then(|()| fs::rename(&new, path));
        if let Err(error) = moved {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { listener, path: path.to_owned(), file: (metadata.dev(), metadata.ino()) })
    }

    pub(crate) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // A folder that went away took it along.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Nothing there, or a socket that nobody answers at, may be replaced.
fn refuse_taken(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // It answers, or whether it does cannot be told: another user's, or one whose queue is full.
        Ok(_) | Err(_) => Err(io::Error::from(ErrorKind::AddrInUse)),
    }
}

/// A name of this process's own in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
