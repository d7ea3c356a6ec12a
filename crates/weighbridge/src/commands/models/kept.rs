//! `weighbridge models verify` and `weighbridge models remove`: what was pulled.

use weighbridge_hub::{Record, Repo, Source as HubSource, Verdict};

use crate::failure::Failure;
use crate::hub;
use crate::terminal::say;
use crate::terminal::{self, PullBar};

pub(super) fn verify(model: Option<&str>) -> Result<(), Failure> {
    let store = hub::store()?;
    let mut list = store.list().map_err(Failure::failed)?;
    if let Some(model) = model {
        let source = find(model)?;
        list.retain(|(repo, _)| *repo == source.repo);
        if list.is_empty() {
            return Err(Failure::usage(format!("hf:{} has not been pulled", source.repo)));
        }
    }
    if list.is_empty() {
        say!("nothing has been pulled yet");
        return Ok(());
    }
    let mut damaged = 0;
    for (repo, record) in &list {
        damaged += verify_one(&store, repo, record)?;
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Failure::failed(format!(
            "files that are not what was pulled: {damaged}; weighbridge models remove MODEL and then pull it again"
        ))),
    }
}

/// Verifies a repository. Returns how many of its files are not what they were.
fn verify_one(store: &weighbridge_hub::Store, repo: &Repo, record: &Record) -> Result<usize, Failure> {
    let bar = PullBar::checking(&repo.to_string(), record.files.iter().map(|file| file.size).sum());
    let verdicts = store.verify(repo, record, &mut |bytes| bar.arrived(bytes)).map_err(Failure::failed)?;
    drop(bar);
    let mut damaged = 0;
    for (file, verdict) in &verdicts {
        let what = match verdict {
            Verdict::Whole => continue,
            Verdict::Missing => "is missing".to_owned(),
            Verdict::OtherSize(size) => format!("has {size} bytes; {} were pulled", file.size),
            Verdict::OtherDigest(digest) => format!("has SHA-256 {digest}; {} was pulled", file.sha256),
        };
        damaged += 1;
        say!("hf:{repo}: {} {what}", file.path);
    }
    if damaged == 0 {
        say!("hf:{repo}: {} files are what was pulled, at revision {}", verdicts.len(), record.revision);
    }
    Ok(damaged)
}

pub(super) fn remove(model: &str) -> Result<(), Failure> {
    let source = find(model)?;
    let freed = hub::store()?.remove(&source).map_err(Failure::failed)?;
    say!("removed {source}: {} are free again", terminal::bytes(freed));
    Ok(())
}

fn find(model: &str) -> Result<HubSource, Failure> {
    let missing = || Failure::usage(format!("\"{model}\" has not been pulled; weighbridge models list shows what has"));
    hub::named(model)?.ok_or_else(missing)
}
