//! `weighbridge models pull`: a model from the hub, with progress.

use std::collections::BTreeMap;

use weighbridge_hub::{HubError, Source as HubSource, Wish, pull};

use crate::cli::PullArguments;
use crate::config::Source;
use crate::failure::Failure;
use crate::hub;
use crate::terminal::say;
use crate::terminal::{self, PullBar};

pub(super) fn run(source: &Source, arguments: &PullArguments) -> Result<(), Failure> {
    let wish = wish(arguments)?;
    let hub = hub::connect(source, arguments.token_env.as_deref())?;
    let store = hub::store()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let bar = PullBar::new();
    let pulled = runtime.block_on(pull(&hub, &store, &wish, &|progress| bar.show(progress)));
    drop(bar);
    let pulled = pulled.map_err(|error| match error {
        HubError::Denied { .. } => Failure::failed(format!("{error}: {}", hub.page(&wish.source.repo))),
        HubError::Choice(_) | HubError::Offline { .. } | HubError::OtherRevision { .. } => Failure::usage(error),
        error => Failure::failed(error),
    })?;
    let bytes = pulled.record.files.iter().map(|file| file.size).sum();
    match pulled.fetched {
        0 => say!("{} is here already, at revision {}", wish.source, pulled.record.revision),
        1 => say!("pulled {}: one file, at revision {}", wish.source, pulled.record.revision),
        files => say!("pulled {}: {files} files, at revision {}", wish.source, pulled.record.revision),
    }
    say!("  folder   {}", hub_folder(&store, &wish.source));
    say!("  size     {}", terminal::bytes(bytes));
    say!("  licence  {}", pulled.record.licence.as_deref().unwrap_or("not stated"));
    say!("\nGo on: weighbridge run {0}, or weighbridge serve {0}", wish.source);
    Ok(())
}

fn hub_folder(store: &weighbridge_hub::Store, source: &HubSource) -> String {
    store.root().join(source.repo.org()).join(source.repo.name()).display().to_string()
}

/// What the command line means: a model with a short name, also where it is named by its source, brings the conditions
/// and the digests of its manifest.
fn wish(arguments: &PullArguments) -> Result<Wish, Failure> {
    let (revision, update) = (arguments.revision.clone(), arguments.update);
    let known = hub::known()?;
    let model = if HubSource::is_meant(&arguments.model) {
        let source = arguments.model.parse::<HubSource>().map_err(Failure::usage)?;
        known.models().map(|(_, model)| model).find(|model| model.source == source)
    } else {
        known.find(&arguments.model)
    };
    if let Some(model) = model {
        if let Some(conditions) = &model.conditions {
            anstream::eprintln!("\x1b[1;33mlicence:\x1b[0m {} ({}): {conditions}", model.licence, model.class);
        }
        return Ok(Wish { source: model.source.clone(), revision, update, sha256: model.sha256.clone() });
    }
    match hub::named(&arguments.model)? {
        Some(source) => Ok(Wish { source, revision, update, sha256: BTreeMap::new() }),
        None => Err(Failure::usage(format!(
            "\"{}\" is no known model; write hf:ORG/NAME, or a short name of weighbridge models list --known",
            arguments.model
        ))),
    }
}
