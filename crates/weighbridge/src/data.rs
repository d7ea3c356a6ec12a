//! Where the program keeps its data.

use std::path::PathBuf;

use etcetera::BaseStrategy;

use crate::failure::Failure;

/// `WEIGHBRIDGE_DATA_DIR`, else a folder of our own in the user's data directory.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    if let Some(folder) = std::env::var_os("WEIGHBRIDGE_DATA_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(folder.into());
    }
    let strategy = etcetera::choose_base_strategy()
        .map_err(|error| Failure::failed(format!("there is no data directory ({error}); set WEIGHBRIDGE_DATA_DIR")))?;
    Ok(strategy.data_dir().join("weighbridge"))
}
