//! Files and recordings, as the parts that chat completions have for them.

use serde_json::{Map, Value, json};
use weighbridge_backend::{Asked, Json, Part};

use super::{Fields, WireError, passed_on};

/// An `input_file`: its bytes, or the id under which its provider keeps it.
///
/// # Errors
/// When it holds neither, or an address, which nobody here fetches.
pub(super) fn file(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    if fields.get("file_url").is_some() {
        let why = "files are not fetched here; send the bytes in 'file_data'";
        return Err(WireError::invalid(&fields.path("file_url"), why));
    }
    let mut file = Map::new();
    for key in ["file_data", "file_id", "filename"] {
        if let Some(text) = fields.string(key)? {
            file.insert(key.to_owned(), text.into());
        }
    }
    if !file.contains_key("file_data") && !file.contains_key("file_id") {
        return Err(WireError::missing(&fields.path("file_data")));
    }
    // How closely to look at a file has no word in chat completions; `auto` asks for nothing.
    let detailed = fields.string("detail")?.is_some_and(|detail| detail != "auto");
    let known = |key: &str| file.contains_key(key) || COMMON.contains(&key) || (key == "detail" && !detailed);
    asked.extend(fields.keys().filter(|key| !known(key)).map(|key| passed_on(fields.path(key))));
    Ok(carried("file", &json!({"type": "file", "file": file})))
}

/// An `input_audio`, which has the same form in both.
///
/// # Errors
/// When it has no data, or no format.
pub(super) fn audio(fields: &Fields<'_>, asked: &mut Vec<Asked>) -> Result<Part, WireError> {
    let audio = fields.object("input_audio")?.ok_or_else(|| WireError::missing(&fields.path("input_audio")))?;
    let (data, format) = (audio.required_string("data")?, audio.required_string("format")?);
    let further = |fields: &Fields<'_>, known: &[&str]| -> Vec<Asked> {
        fields.keys().filter(|key| !known.contains(key)).map(|key| passed_on(fields.path(key))).collect()
    };
    asked.extend(further(&audio, &["data", "format"]));
    asked.extend(further(fields, &["type", "input_audio", "prompt_cache_breakpoint"]));
    Ok(carried("input_audio", &json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})))
}

/// What every part may have.
const COMMON: [&str; 2] = ["type", "prompt_cache_breakpoint"];

fn carried(kind: &'static str, part: &Value) -> Part {
    Part::Carried { kind, part: Json(part.to_string().into()) }
}
