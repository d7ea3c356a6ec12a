//! Models made for a test: the demo model's family and tokenizer at any size, with random weights or none at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::demo_folder;

/// The width of an attention head here.
const HEAD: usize = 64;

/// How large a model is. A width is a multiple of 128.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Numbers of a token between two layers.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Numbers of a token within a feed-forward.
    pub inner: usize,
    /// Tokens; at least those of the demo model, 1,801.
    pub vocabulary: usize,
}

/// A folder with a model in it, gone when dropped.
pub struct MadeModel {
    folder: TempDir,
    bytes: u64,
}

/// A tensor's name and shape.
type Tensor = (String, Vec<usize>);

impl Shape {
    fn tensors(self) -> Vec<Tensor> {
        let Self { hidden, layers, inner, vocabulary } = self;
        let (all, shared) = (hidden, hidden / 2);
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden])];
        for layer in 0..layers {
            let of = |name: &str, shape: &[usize]| (format!("model.layers.{layer}.{name}.weight"), shape.to_vec());
            tensors.extend([
                of("input_layernorm", &[hidden]),
                of("self_attn.q_proj", &[all, hidden]),
                of("self_attn.k_proj", &[shared, hidden]),
                of("self_attn.v_proj", &[shared, hidden]),
                of("self_attn.o_proj", &[hidden, all]),
                of("post_attention_layernorm", &[hidden]),
                of("mlp.gate_proj", &[inner, hidden]),
                of("mlp.up_proj", &[inner, hidden]),
                of("mlp.down_proj", &[hidden, inner]),
            ]);
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
        tensors
    }

    fn config(self) -> Value {
        let Self { hidden, layers, inner, vocabulary } = self;
        let text = std::fs::read_to_string(demo_folder().join("config.json")).expect("it is in the repository");
        let mut config: Value = serde_json::from_str(&text).expect("it is an object");
        for (key, value) in [
            ("hidden_size", hidden),
            ("num_hidden_layers", layers),
            ("intermediate_size", inner),
            ("vocab_size", vocabulary),
            ("head_dim", HEAD),
            ("num_attention_heads", hidden / HEAD),
            ("num_key_value_heads", hidden / HEAD / 2),
        ] {
            config[key] = value.into();
        }
        config
    }
}

impl MadeModel {
    /// With weights as random as a beginner's: it answers, and what it says means nothing.
    pub fn random(shape: Shape) -> Self {
        Self::made(shape, |file, name, count| {
            let words: Box<dyn Iterator<Item = u16>> = match name.contains("norm") {
                // One, in bfloat16.
                true => Box::new(std::iter::repeat(0x3f80)),
                false => Box::new(weights().into_iter().cycle()),
            };
            let bytes: Vec<u8> = words.take(count).flat_map(u16::to_le_bytes).collect();
            file.write_all(&bytes).expect("there is room on the disk");
        })
    }

    /// With weights that are all 0, in a file that takes no room on the disk: it can be loaded.
    pub fn hollow(shape: Shape) -> Self {
        Self::made(shape, |_, _, _| ())
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes of its weights as they are stored.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn made(shape: Shape, mut fill: impl FnMut(&mut BufWriter<std::fs::File>, &str, usize)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            std::fs::copy(demo_folder().join(file), folder.path().join(file)).expect("it can be copied");
        }
        let config = folder.path().join("config.json");
        std::fs::write(config, shape.config().to_string()).expect("a file can be written there");

        let (mut header, mut end) = (Map::new(), 0);
        for (name, shape) in shape.tensors() {
            let bytes = 2 * shape.iter().product::<usize>();
            let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [end, end + bytes]});
            header.insert(name, entry);
            end += bytes;
        }
        let mut header = Value::Object(header).to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(64) - header.len()));
        let file = std::fs::File::create(folder.path().join("model.safetensors")).expect("a file can be made there");
        let mut file = BufWriter::new(file);
        let length = (header.len() as u64).to_le_bytes();
        file.write_all(&length).and_then(|()| file.write_all(header.as_bytes())).expect("there is room on the disk");
        for (name, shape) in shape.tensors() {
            fill(&mut file, &name, shape.iter().product());
        }
        let file = file.into_inner().expect("there is room on the disk");
        file.set_len((8 + header.len() + end) as u64).expect("a file can be as long as that");
        Self { folder, bytes: end as u64 }
    }
}

/// Weights in bfloat16, of either sign and of 0.008 to 0.016: a prime number of them, so that no two rows are alike.
fn weights() -> Vec<u16> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        0x3c00 | (state >> 32) as u16 & 0x807f
    };
    std::iter::repeat_with(next).take(65_521).collect()
}
