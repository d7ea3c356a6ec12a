//! A pull, from the wish to the record.
//!
//! All files come to lie beside their places first. When every one of them is whole and right they are renamed into
//! place, and the record is written last: whoever finds a record finds the files that it names. Where a pull replaces
//! files of an earlier one, the earlier record goes before the first of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::choose::choose;
use crate::client::{Hub, contradiction};
use crate::digest::Digest;
use crate::download::{Remote, fetch};
use crate::error::{HubError, failed};
use crate::listing::{ListedFile, Listing, list};
use crate::part::Part;
use crate::path;
use crate::record::{FileRecord, Record};
use crate::source::{Repo, Source};
use crate::store::{Held, Store, is_whole_at_a_glance, remove_files};

/// Bytes of one file: more than any disk that this program meets.
const FILE_BYTES_MAX: u64 = 1 << 42;
/// Files of one pull; the largest models have some 200.
const FILES_MAX: usize = 5000;
/// What stays free on the disk.
const RESERVE_BYTES: u64 = 64 << 20;

/// What to pull.
#[derive(Clone, Debug)]
pub struct Wish {
    /// From where, and which model.
    pub source: Source,
    /// A branch, a tag or a commit; none means the record's where there is one, else `main`.
    pub revision: Option<String>,
    /// Whether what is here may move to another commit.
    pub update: bool,
    /// Digests that files have to have, by path.
    pub sha256: BTreeMap<String, Digest>,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// What is to come: files and bytes, and how many of those are here from an earlier attempt.
    Planned {
        /// Files to fetch.
        files: usize,
        /// Bytes of all of them.
        bytes: u64,
        /// Of these, how many are here.
        done: u64,
    },
    /// A file is being fetched from here on.
    Fetching {
        /// Its path in the repository.
        path: &'a str,
        /// Its size.
        bytes: u64,
    },
    /// Bytes have arrived; fewer than none where they have to come again.
    Arrived {
        /// How many.
        bytes: i64,
    },
    /// A file has arrived, and its digest is being computed.
    Checking {
        /// Its path in the repository.
        path: &'a str,
    },
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What to open: a folder, or a GGUF file.
    pub path: PathBuf,
    /// Of the repository.
    pub record: Record,
    /// Files that were fetched; none where all of them were here.
    pub fetched: usize,
}

/// A file to fetch.
struct Task {
    file: ListedFile,
    /// What it has to be, and who said so.
    promise: Option<(Digest, &'static str)>,
    part: Part,
}

/// Fetches what is wished for into the store. A wish that is fulfilled already sends nothing.
///
/// It computes digests and writes files on the thread that polls it: give it a runtime of its own. When it is dropped
/// or killed, what has arrived stays, and the same wish goes on from there.
///
/// # Errors
/// See [`HubError`]. Until all files are whole and right, the store holds no new model.
pub async fn pull(
    hub: &Hub,
    store: &Store,
    wish: &Wish,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Pulled, HubError> {
    let repo = &wish.source.repo;
    let recorded = Record::read(&store.folder(repo))?;
    if let Some(pulled) = recorded.as_ref().and_then(|record| fulfilled(store, wish, record)) {
        return Ok(pulled);
    }
    if let (Some(reason), wanted) = (&hub.options.offline, wish.source.to_string()) {
        return Err(HubError::Offline { reason: reason.clone(), wanted });
    }
    let revision = match (&wish.revision, &recorded) {
        (Some(revision), _) => revision,
        (None, Some(record)) if !wish.update => &record.revision,
        _ => "main",
    };
    let listing = list(hub, repo, revision).await?;
    if let Some(record) = recorded.as_ref().filter(|record| record.revision != listing.commit && !wish.update) {
        return Err(HubError::OtherRevision {
            repo: repo.to_string(),
            here: record.revision.clone(),
            asked: listing.commit,
        });
    }
    let held = store.hold(repo)?;
    // Another pull may have ended in the meantime.
    let recorded = Record::read(held.folder())?;
    fetch_all(hub, store, wish, progress, held, recorded, listing).await
}

/// What is here, where that is all that was wished for.
fn fulfilled(store: &Store, wish: &Wish, record: &Record) -> Option<Pulled> {
    let same_commit = wish.revision.as_ref().is_none_or(|revision| *revision == record.revision);
    // Without a pick, the hub decides what is meant, unless the folder checkpoint is here.
    let clear = wish.source.pick.is_some() || record.file("config.json").is_some();
    let promised = |(path, digest): (&String, &Digest)| record.file(path).is_none_or(|file| file.sha256 == *digest);
    if wish.update || !same_commit || !clear || !wish.sha256.iter().all(promised) {
        return None;
    }
    let found = store.find(&wish.source).ok()?;
    Some(Pulled { path: found.path, record: found.record, fetched: 0 })
}

async fn fetch_all(
    hub: &Hub,
    store: &Store,
    wish: &Wish,
    progress: &(dyn Fn(Progress<'_>) + Sync),
    held: Held,
    recorded: Option<Record>,
    listing: Listing,
) -> Result<Pulled, HubError> {
    let Listing { commit, licence, files } = listing;
    let repo = &wish.source.repo;
    let wanted = wanted(&wish.source, files, recorded.as_ref())?;
    let same_commit = recorded.as_ref().filter(|record| record.revision == commit);
    let mut record = Record {
        source: format!("hf:{repo}"),
        endpoint: hub.endpoint().to_owned(),
        revision: commit,
        licence,
        files: same_commit.map(|record| record.files.clone()).unwrap_or_default(),
    };
    let mut tasks = Vec::new();
    for file in wanted {
        let promise = promise(&file, wish, same_commit)?;
        if let Some(here) = here(&file, promise, held.folder(), recorded.as_ref())? {
            record.files.retain(|known| known.path != here.path);
            record.files.push(here);
            continue;
        }
        let etag = file.sha256.map_or_else(|| record.revision.clone(), |digest| digest.to_string());
        let part = Part::find(&held.part(&file.path)?, &etag, file.size, hub.options.piece_bytes);
        tasks.push(Task { file, promise, part });
    }
    announce(&tasks, held.folder(), progress)?;
    for task in &tasks {
        let path = &task.file.path;
        progress(Progress::Fetching { path, bytes: task.file.size });
        task.part.prepare()?;
        let segments = [repo.org(), repo.name(), "resolve", &record.revision].into_iter().chain(path.split('/'));
        let (url, size, sha256) = (hub.url(segments), task.file.size, task.file.sha256);
        let remote = Remote { url, path, size, sha256 };
        fetch(hub, &remote, &task.part, &|bytes| progress(Progress::Arrived { bytes })).await?;
        progress(Progress::Checking { path });
        let fetched = check(task)?;
        record.files.retain(|known| known.path != *path);
        record.files.push(fetched);
    }
    record.files.sort_by(|a, b| a.path.cmp(&b.path));
    let fetched = tasks.len();
    install(&held, recorded.as_ref(), &record, &tasks)?;
    held.release();
    let found = store.find(&wish.source)?;
    Ok(Pulled { path: found.path, record, fetched })
}

/// The files of the wish, and on a move to another commit those that are here, so that all are of one commit.
fn wanted(source: &Source, files: Vec<ListedFile>, recorded: Option<&Record>) -> Result<Vec<ListedFile>, HubError> {
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut wanted: BTreeSet<String> = choose(&paths, source)?.files.into_iter().map(str::to_owned).collect();
    wanted.extend(recorded.iter().flat_map(|record| &record.files).map(|file| file.path.clone()));
    let mut chosen = Vec::new();
    for file in files {
        // A path that stands in the list twice is taken once.
        if !wanted.remove(&file.path) {
            continue;
        }
        let shown = file.path.escape_default();
        if let Some(objection) = path::objection(&file.path) {
            return Err(contradiction(&source.to_string(), format!("it names a file \"{shown}\": {objection}")));
        }
        if file.size > FILE_BYTES_MAX {
            return Err(contradiction(&source.to_string(), format!("{shown} is said to have {} bytes", file.size)));
        }
        chosen.push(file);
    }
    if chosen.len() > FILES_MAX {
        return Err(contradiction(&source.to_string(), format!("{} files are more than a model has", chosen.len())));
    }
    Ok(chosen)
}

/// What a file has to be. Who promised first is held to it.
fn promise(
    file: &ListedFile,
    wish: &Wish,
    same_commit: Option<&Record>,
) -> Result<Option<(Digest, &'static str)>, HubError> {
    let manifest = wish.sha256.get(&file.path).map(|digest| (*digest, "by the manifest"));
    let recorded = same_commit.and_then(|record| record.file(&file.path));
    let recorded = recorded.map(|recorded| (recorded.sha256, "by the first pull"));
    let stated = file.sha256.map(|digest| (digest, "by the hub"));
    let mut promises = [manifest, recorded, stated].into_iter().flatten();
    let Some(first) = promises.next() else { return Ok(None) };
    match promises.find(|other| other.0 != first.0) {
        None => Ok(Some(first)),
        Some((other, by)) => {
            let reason = format!("SHA-256 {} was promised {}, and {other} {by}", first.0, first.1);
            Err(contradiction(&file.path, reason))
        }
    }
}

/// A file that need not be fetched: the record holds it, or its bytes are the promised ones.
fn here(
    file: &ListedFile,
    promise: Option<(Digest, &'static str)>,
    folder: &Path,
    recorded: Option<&Record>,
) -> Result<Option<FileRecord>, HubError> {
    let Some((sha256, _)) = promise else { return Ok(None) };
    let here = FileRecord { path: file.path.clone(), size: file.size, sha256, stated_by_hub: file.sha256.is_some() };
    if !is_whole_at_a_glance(folder, &here) {
        return Ok(None);
    }
    if recorded.and_then(|record| record.file(&file.path)).is_some_and(|known| known.sha256 == sha256) {
        return Ok(Some(here));
    }
    // Left by a pull that ended between the first rename and its record.
    let path = folder.join(&file.path);
    let digest = File::open(&path).and_then(|mut file| Digest::of_file(&mut file, &mut |_| ()));
    Ok((digest.map_err(failed("read", &path))? == sha256).then_some(here))
}

/// Says what is to come, where the disk has room for it.
fn announce(tasks: &[Task], folder: &Path, progress: &(dyn Fn(Progress<'_>) + Sync)) -> Result<(), HubError> {
    let bytes = tasks.iter().map(|task| task.file.size).fold(0, u64::saturating_add);
    let done = tasks.iter().map(|task| task.part.done()).fold(0, u64::saturating_add);
    let needed = bytes.saturating_sub(done).saturating_add(RESERVE_BYTES);
    match free_bytes(folder) {
        Some(free) if free < needed && !tasks.is_empty() => {
            Err(HubError::Space { needed, free, folder: folder.to_owned() })
        }
        _ => {
            progress(Progress::Planned { files: tasks.len(), bytes, done });
            Ok(())
        }
    }
}

/// What the file system of `folder` has left for us; none where it does not say.
fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let system = rustix::fs::statvfs(folder).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Holds a file that has arrived to what was promised, and to nothing at its first pull. A wrong one is deleted.
fn check(task: &Task) -> Result<FileRecord, HubError> {
    let path = task.part.path();
    let mut file = File::open(path).map_err(failed("read", path))?;
    let found = Digest::of_file(&mut file, &mut |_| ()).map_err(failed("read", path))?;
    if let Some((expected, by)) = task.promise.filter(|(expected, _)| *expected != found) {
        task.part.delete();
        return Err(HubError::WrongDigest { file: task.file.path.clone(), by, expected, found });
    }
    // On the disk before the record says that it is.
    file.sync_all().map_err(failed("write", path))?;
    let stated_by_hub = task.file.sha256.is_some();
    Ok(FileRecord { path: task.file.path.clone(), size: task.file.size, sha256: found, stated_by_hub })
}

/// Renames all that has arrived into place and writes the record.
fn install(held: &Held, earlier: Option<&Record>, record: &Record, tasks: &[Task]) -> Result<(), HubError> {
    let earlier_files = earlier.map_or_else(Vec::new, |earlier| earlier.files.clone());
    let gone: Vec<FileRecord> =
        earlier_files.iter().filter(|file| record.file(&file.path).is_none()).cloned().collect();
    let replaced = |file: &FileRecord| tasks.iter().any(|task| task.file.path == file.path);
    if !gone.is_empty() || earlier_files.iter().any(replaced) {
        Record::delete(held.folder())?;
    }
    for task in tasks {
        held.install(task.part.path(), &task.file.path)?;
        task.part.delete_state();
    }
    remove_files(held.folder(), &gone)?;
    record.write(held.folder())
}

/// For messages: the repository's page.
impl Hub {
    /// Where a person reads about a repository and accepts its conditions.
    pub fn page(&self, repo: &Repo) -> String {
        self.url([repo.org(), repo.name()]).to_string()
    }
}
