//! Names of files as a hub states them: checked before any of them reaches the disk.

/// Bytes of one name on common file systems.
const SEGMENT_BYTES_MAX: usize = 200;
const PATH_BYTES_MAX: usize = 512;
const SEGMENTS_MAX: usize = 8;

/// Why a path of a repository cannot be one below a folder of ours; none where it can.
///
/// Rules for all systems at once, since what is pulled here may be copied there.
pub(crate) fn objection(path: &str) -> Option<&'static str> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Some("it is empty or too long");
    }
    if path.contains(|c: char| c.is_control() || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')) {
        return Some("it holds a character that is no part of a file's name everywhere");
    }
    let mut segments = 0;
    for segment in path.split('/') {
        segments += 1;
        if matches!(segment, "" | "." | "..") {
            return Some("it could lead out of its folder");
        }
        if segment.starts_with('.') || segment.ends_with(['.', ' ']) || segment.len() > SEGMENT_BYTES_MAX {
            return Some("a name in it is hidden, too long, or ends in a dot or a space");
        }
    }
    if segments > SEGMENTS_MAX {
        return Some("it is nested too deeply");
    }
    if path == crate::record::FILE_NAME {
        return Some("it is the name of our own record");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::objection;

    #[test]
    fn only_plain_paths_below_the_folder_are_taken() {
        for good in ["config.json", "Q4_K_M/model-00001-of-00002.gguf", "a b.txt", "Größe.gguf"] {
            assert_eq!(objection(good), None, "{good}");
        }
        let wrong =
            ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "C:x", "a\0b", ".git/config", "a/."];
        for bad in wrong.into_iter().chain(["weighbridge-model.toml", "a/b/c/d/e/f/g/h/i", "a. ", "x\n"]) {
            assert!(objection(bad).is_some(), "{bad}");
        }
        assert!(objection(&"a".repeat(201)).is_some());
    }
}
