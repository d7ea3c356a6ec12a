//! Files as slices.
//!
//! A checkpoint is gigabytes of which a start touches a few; mapped, its pages come in when they are read,
//! are shared between processes, and go when memory is short.

use std::fs::{self, File};
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

/// A multiple of the size of a page on every machine.
#[cfg(unix)]
const ALIGNMENT: usize = 64 << 10;

/// The bytes of a file, read-only, as they were when it was opened.
///
/// The file must stay as it is while it is mapped: a change shows through, and a read past the end of a file that
/// was cut short ends the process (SIGBUS). So checkpoints are replaced by renaming, never by writing into them.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    file: File,
}

impl MappedFile {
    /// Maps the whole of the file at `path`.
    ///
    /// # Errors
    /// Where the file cannot be opened or mapped, and where `path` is a folder, a pipe or a device, whose length
    /// says nothing about their bytes.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Asked before opening, since opening a pipe waits for whoever writes to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        // SAFETY: the map is read-only and private to this value, its length is the file's own as the kernel
        // reports it, and the slice lent out lives no longer than the map. That nobody writes into the file
        // meanwhile no program can prove; it is the condition that this type's documentation states.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map, file })
    }

    /// Whether the file still has all of the bytes that were mapped. Asked before a long read of a file that was mapped
    /// long ago, it turns the end of the process into an error.
    pub fn is_whole(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() >= self.map.len() as u64)
    }

    /// Lets go of the memory that its pages take in this process. They come back when they are read again.
    pub fn release(&self) {
        self.release_part(0..self.map.len());
    }

    /// The same of a part of it: of the pages that lie within it.
    ///
    /// # Panics
    /// Where the part is not within the file.
    pub fn release_part(&self, part: Range<usize>) {
        assert!(part.start <= part.end && part.end <= self.map.len(), "a part lies within the whole");
        #[cfg(unix)]
        {
            let start = part.start.next_multiple_of(ALIGNMENT);
            // Behind the end of a file there is nothing that another part could need.
            let end = if part.end == self.map.len() { part.end } else { part.end / ALIGNMENT * ALIGNMENT };
            if start < end {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                // SAFETY: the map is of a file and never written to, so that a page that comes back holds what it held.
                let _ = unsafe { self.map.unchecked_advise_range(advice, start, end - start) };
            }
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(contents: &[u8]) -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, contents)?;
        assert_eq!(&*MappedFile::open(&path)?, contents);
        Ok(())
    }

    #[test]
    fn a_mapped_file_holds_the_bytes_of_the_file() -> io::Result<()> {
        check(b"x")?;
        check(&[7; 100_000])
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() -> io::Result<()> {
        check(b"")
    }

    #[test]
    fn a_folder_or_a_missing_file_is_an_error() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(MappedFile::open(folder.path()).is_err());
        assert!(MappedFile::open(&folder.path().join("absent")).is_err());
        Ok(())
    }

    #[test]
    fn what_was_released_reads_as_before() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        let contents: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
        fs::write(&path, &contents)?;
        let map = MappedFile::open(&path)?;
        for part in [0..0, 7..9, 0..200_000, 70_000..140_000, 65_536..131_072, 299_999..300_000, 1..300_000] {
            map.release_part(part);
            assert_eq!(&*map, contents);
        }
        map.release();
        assert_eq!(&*map, contents);
        Ok(())
    }

    #[test]
    fn a_file_that_was_cut_short_is_noticed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, [7; 1000])?;
        let map = MappedFile::open(&path)?;
        assert!(map.is_whole());
        File::options().write(true).open(&path)?.set_len(999)?;
        assert!(!map.is_whole());
        File::options().write(true).open(&path)?.set_len(1000)?;
        assert!(map.is_whole());
        Ok(())
    }

    #[test]
    fn a_map_outlives_the_name_of_its_file() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, b"still here")?;
        let map = MappedFile::open(&path)?;
        fs::remove_file(&path)?;
        assert_eq!(&*map, b"still here");
        Ok(())
    }
}
