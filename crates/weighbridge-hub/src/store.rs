//! The folder of all models that were pulled: `ORG/NAME/` with a record each.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::choose::choose;
use crate::digest::Digest;
use crate::error::{HubError, failed};
use crate::record::{FileRecord, Record};
use crate::source::{Repo, Source};

/// Where files are on their way, below the folder of a repository.
const PARTS: &str = ".parts";
const LOCK: &str = "lock";
/// Folders that a list looks at.
const REPOS_MAX: usize = 100_000;

/// Models that were pulled, below one folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A model that was pulled.
#[derive(Clone, Debug)]
pub struct Found {
    /// What to open: a folder, or a GGUF file (of several parts the first).
    pub path: PathBuf,
    /// How to name it outright.
    pub source: Source,
    /// Of its repository.
    pub record: Record,
    /// Bytes of all files of the model.
    pub bytes: u64,
}

/// How a file stands against its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was pulled.
    Whole,
    /// It is not there.
    Missing,
    /// It has another size.
    OtherSize(u64),
    /// It has other bytes.
    OtherDigest(Digest),
}

/// Holds a repository's folder for one pull or removal; others are refused meanwhile.
pub(crate) struct Held {
    folder: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl Store {
    /// The store at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The model that `source` means.
    ///
    /// # Errors
    /// Where it was not pulled, a file of it is gone, or `source` means several.
    pub fn find(&self, source: &Source) -> Result<Found, HubError> {
        let folder = self.folder(&source.repo);
        let record = Record::read(&folder)?.ok_or_else(|| HubError::NotPulled(source.to_string()))?;
        let paths: Vec<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        let choice = choose(&paths, source)?;
        let files = choice.files.iter().filter_map(|path| record.file(path));
        let bytes = files.clone().map(|file| file.size).fold(0, u64::saturating_add);
        for file in files {
            if !is_whole_at_a_glance(&folder, file) {
                let reason = format!("is not what was pulled; run weighbridge models pull hf:{} again", source.repo);
                return Err(HubError::Damaged { path: folder.join(&file.path), reason });
            }
        }
        let path = choice.entry.map_or_else(|| folder.clone(), |entry| folder.join(entry));
        Ok(Found { path, source: source.clone(), record, bytes })
    }

    /// All repositories of which something was pulled, with their records.
    ///
    /// # Errors
    /// Where a folder or a record cannot be read.
    pub fn list(&self) -> Result<Vec<(Repo, Record)>, HubError> {
        let mut list = Vec::new();
        for org in folders(&self.root)? {
            for name in folders(&self.root.join(&org))? {
                let Some(repo) = Repo::new(&org, &name) else { continue };
                if let Some(record) = Record::read(&self.folder(&repo))? {
                    list.push((repo, record));
                }
            }
        }
        Ok(list)
    }

    /// The models of a record, each named outright: the folder, or each GGUF.
    pub fn models(&self, repo: &Repo, record: &Record) -> Vec<Source> {
        let all = Source { repo: repo.clone(), pick: None };
        let paths: Vec<&str> = record.files.iter().map(|file| file.path.as_str()).collect();
        let mut models = Vec::new();
        if record.file("config.json").is_some() && choose(&paths, &all).is_ok() {
            models.push(all);
        }
        for path in paths.iter().filter(|path| path.ends_with(".gguf")) {
            let source = Source { repo: repo.clone(), pick: Some((*path).to_owned()) };
            // Of several parts, the first stands for all.
            if choose(&paths, &source).is_ok_and(|choice| choice.entry == Some(path)) {
                models.push(source);
            }
        }
        models
    }

    /// The repository that was pulled as `ORG/NAME`, or as `NAME` where only one has it.
    ///
    /// # Errors
    /// Where several have that name, or the store cannot be read.
    pub fn named(&self, name: &str) -> Result<Option<Repo>, HubError> {
        let repos = self.list()?.into_iter().map(|(repo, _)| repo);
        let named: Vec<Repo> = repos.filter(|repo| repo.name() == name || repo.to_string() == name).collect();
        match named.as_slice() {
            [] => Ok(None),
            [repo] => Ok(Some(repo.clone())),
            several => {
                let several: Vec<String> = several.iter().map(|repo| format!("hf:{repo}")).collect();
                Err(HubError::Choice(format!("\"{name}\" means several models; name one of {}", several.join(", "))))
            }
        }
    }

    /// Holds all files of a record to it, by size and digest; `seen` is told of bytes as they are read.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn verify(
        &self,
        repo: &Repo,
        record: &Record,
        seen: &mut dyn FnMut(u64),
    ) -> Result<Vec<(FileRecord, Verdict)>, HubError> {
        let folder = self.folder(repo);
        record.files.iter().map(|file| Ok((file.clone(), verdict(&folder, file, seen)?))).collect()
    }

    /// Removes the model that `source` means, or all of its repository where it names none. Returns the bytes that
    /// were freed. Files that no record names stay, and so does their folder.
    ///
    /// # Errors
    /// Where it was not pulled, or something cannot be removed.
    pub fn remove(&self, source: &Source) -> Result<u64, HubError> {
        let folder = self.folder(&source.repo);
        let not_pulled = || HubError::NotPulled(source.to_string());
        Record::read(&folder)?.ok_or_else(not_pulled)?;
        let held = self.hold(&source.repo)?;
        let mut record = Record::read(&folder)?.ok_or_else(not_pulled)?;
        let mut gone = std::mem::take(&mut record.files);
        if source.pick.is_some() {
            let paths: Vec<&str> = gone.iter().map(|file| file.path.as_str()).collect();
            let chosen: Vec<String> = choose(&paths, source)?.files.into_iter().map(str::to_owned).collect();
            // What says the licence of the others stays with them.
            let is_model = |file: &FileRecord| chosen.contains(&file.path) && file.path.ends_with(".gguf");
            (gone, record.files) = gone.into_iter().partition(is_model);
        }
        let last = !record.files.iter().any(|file| file.path.ends_with(".gguf") || file.path.ends_with(".safetensors"));
        if last {
            gone.append(&mut record.files);
            Record::delete(&folder)?;
        } else {
            record.write(&folder)?;
        }
        let freed = remove_files(&folder, &gone)?;
        held.release();
        if last {
            // Each only where it is empty.
            let _ = std::fs::remove_dir(&folder);
            let _ = folder.parent().map(std::fs::remove_dir);
        }
        Ok(freed)
    }

    pub(crate) fn folder(&self, repo: &Repo) -> PathBuf {
        self.root.join(repo.org()).join(repo.name())
    }

    /// Makes the folder of a repository, and keeps others out of it.
    pub(crate) fn hold(&self, repo: &Repo) -> Result<Held, HubError> {
        std::fs::create_dir_all(&self.root).map_err(failed("create", &self.root))?;
        let folder = self.folder(repo);
        make_folders(&self.root, &folder.join(PARTS))?;
        let path = folder.join(PARTS).join(LOCK);
        if std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(HubError::Damaged { path, reason: "is no file; remove it".to_owned() });
        }
        let lock =
            File::options().write(true).create(true).truncate(false).open(&path).map_err(failed("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Held { folder, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(HubError::Busy(repo.to_string())),
            Err(std::fs::TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }
}

impl Held {
    /// The folder of the repository.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file is on its way, in a folder that exists.
    pub(crate) fn part(&self, path: &str) -> Result<PathBuf, HubError> {
        let part = self.folder.join(PARTS).join(format!("{path}.part"));
        make_folders(&self.folder, part.parent().unwrap_or(&self.folder))?;
        Ok(part)
    }

    /// Moves a part that is whole into its place. What was there is replaced; a link there is, not what it leads to.
    pub(crate) fn install(&self, part: &Path, path: &str) -> Result<(), HubError> {
        let place = self.folder.join(path);
        make_folders(&self.folder, place.parent().unwrap_or(&self.folder))?;
        std::fs::rename(part, &place).map_err(failed("put in place", &place))
    }

    /// Ends it, with all that is left of files on their way.
    pub(crate) fn release(self) {
        // What is left is only disk space, and the next pull begins by looking at it.
        let _ = std::fs::remove_dir_all(self.folder.join(PARTS));
    }
}

/// Removes files that a record names, and the folders below `folder` that this empties. Returns their bytes.
pub(crate) fn remove_files(folder: &Path, files: &[FileRecord]) -> Result<u64, HubError> {
    let mut freed = 0_u64;
    for file in files {
        let path = folder.join(&file.path);
        if leads_through_link(folder, &file.path) {
            return Err(HubError::Damaged { path, reason: "leads through a link; remove it by hand".to_owned() });
        }
        match std::fs::remove_file(&path) {
            Ok(()) => freed = freed.saturating_add(file.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path)(error)),
        }
        for parent in path.ancestors().skip(1).take_while(|parent| *parent != folder) {
            // Only where it is empty.
            let _ = std::fs::remove_dir(parent);
        }
    }
    Ok(freed)
}

/// Whether the file is there with its size: what can be told without reading it.
pub(crate) fn is_whole_at_a_glance(folder: &Path, file: &FileRecord) -> bool {
    std::fs::symlink_metadata(folder.join(&file.path))
        .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size)
}

fn verdict(folder: &Path, file: &FileRecord, seen: &mut dyn FnMut(u64)) -> Result<Verdict, HubError> {
    let path = folder.join(&file.path);
    let metadata = match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Missing),
        other => other.map_err(failed("read", &path))?,
    };
    if !metadata.is_file() || metadata.len() != file.size {
        return Ok(Verdict::OtherSize(metadata.len()));
    }
    let digest = File::open(&path).and_then(|mut opened| Digest::of_file(&mut opened, seen));
    let digest = digest.map_err(failed("read", &path))?;
    Ok(if digest == file.sha256 { Verdict::Whole } else { Verdict::OtherDigest(digest) })
}

/// Makes the folders from `root`, which exists, to `folder`. A link on the way is refused: it could lead anywhere.
fn make_folders(root: &Path, folder: &Path) -> Result<(), HubError> {
    let mut path = root.to_owned();
    for segment in folder.strip_prefix(root).unwrap_or(Path::new("")) {
        path.push(segment);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("create", &path)(error)),
            _ => {}
        }
        if !std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            let reason = "is no folder, or a link to one, through which nothing is written; remove it".to_owned();
            return Err(HubError::Damaged { path, reason });
        }
    }
    Ok(())
}

fn leads_through_link(folder: &Path, path: &str) -> bool {
    let inner = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut at = folder.to_owned();
    inner.iter().any(|segment| {
        at.push(segment);
        std::fs::symlink_metadata(&at).is_ok_and(|metadata| metadata.is_symlink())
    })
}

/// The names of the folders in `folder`, in order; none where it does not exist.
fn folders(folder: &Path) -> Result<Vec<String>, HubError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries.take(REPOS_MAX) {
        let entry = entry.map_err(failed("list", folder))?;
        if let (true, Ok(name)) = (entry.path().is_dir(), entry.file_name().into_string()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
