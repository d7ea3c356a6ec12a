//! Models split over several files, as `gguf-split` writes them: `NAME-00001-of-00003.gguf` holds the metadata and some
//! of the tensors, the others hold the rest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Gguf, GgufError};
use crate::bytes::Bytes;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// More files than any model is split into; names have five digits.
const PARTS_MAX: u64 = 4096;

impl Gguf {
    /// Adds the other parts of a split model, of which this is the file at `path`. `open` gives the bytes of a file,
    /// none where there is no such file. A model in one file is left as it is.
    pub(crate) fn add_parts<E: From<GgufError>>(
        &mut self,
        path: &Path,
        mut open: impl FnMut(&Path) -> Result<Option<Bytes>, E>,
    ) -> Result<(), E> {
        let Some(count) = self.part_count()?.filter(|&count| count > 1) else { return Ok(()) };
        let first = self.unsigned(NUMBER)?.unwrap_or(0) == 0;
        let names = Names::of(path, count).ok_or_else(|| {
            let wanted = format!("the name of the file does not end in -NNNNN-of-{count:05}.gguf");
            GgufError::field(format!("`{COUNT}`"), format!("is {count}, but {wanted}, so the others cannot be found"))
        })?;
        if !first {
            return Err(GgufError::LaterPart(names.file(0)).into());
        }
        for number in 1..count {
            let file = names.file(number);
            let bytes = open(&names.path(number))?;
            let bytes = bytes.ok_or_else(|| GgufError::MissingPart { file: file.clone(), count })?;
            self.add(bytes, number, count).map_err(|problem| GgufError::Part { file, problem: problem.to_string() })?;
        }
        Ok(self.check_all()?)
    }

    fn part_count(&self) -> Result<Option<usize>, GgufError> {
        match self.unsigned(COUNT)? {
            Some(count) if count > PARTS_MAX => {
                Err(GgufError::field(format!("`{COUNT}`"), format!("is {count}; {PARTS_MAX} are allowed")))
            }
            count => Ok(count.map(|count| count as usize)),
        }
    }

    fn add(&mut self, bytes: Bytes, number: usize, count: usize) -> Result<(), GgufError> {
        let part = Self::parse(bytes)?;
        for (key, wanted) in [(NUMBER, number), (COUNT, count)] {
            let found = part.unsigned(key)?.ok_or_else(|| GgufError::Missing(key.to_owned()))?;
            if found != wanted as u64 {
                return Err(GgufError::field(format!("`{key}`"), format!("is {found}, where {wanted} is expected")));
            }
        }
        self.others.push(part.bytes);
        self.tensors.extend(part.tensors.into_iter().map(|tensor| super::GgufTensor { part: number, ..tensor }));
        Ok(())
    }

    /// Every tensor once, and as many as the model was split with.
    fn check_all(&self) -> Result<(), GgufError> {
        let mut names = HashSet::new();
        if let Some(twice) = self.tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
            return Err(GgufError::field(format!("tensor `{}`", twice.name), "occurs in two parts"));
        }
        let found = self.tensors.len();
        match self.unsigned(TENSORS)? {
            Some(count) if count != found as u64 => {
                Err(GgufError::field(format!("`{TENSORS}`"), format!("is {count}, but the parts hold {found}")))
            }
            _ => Ok(()),
        }
    }
}

/// What the parts of one model are called.
struct Names {
    folder: PathBuf,
    start: String,
    count: usize,
}

impl Names {
    fn of(path: &Path, count: usize) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(&format!("-of-{count:05}.gguf"))?;
        let (start, number) = name.rsplit_once('-')?;
        let whole = number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit());
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        whole.then(|| Self { folder, start: start.to_owned(), count })
    }

    /// Of the part with this number, counted from 0.
    fn file(&self, number: usize) -> String {
        format!("{}-{:05}-of-{:05}.gguf", self.start, number + 1, self.count)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(self.file(number))
    }
}
