//! Arguments in the language of a program, as JSON: `a=1, b=["x", True]` of Python, and `a:1,b:[<|"|>x<|"|>,true]` of
//! Gemma. They are translated as they come.

use super::scan::{self, push_escaped};

/// Deepest nesting that is translated.
const MAX_DEPTH: usize = 100;

/// Bytes of the longest word, name or number.
const MAX_WORD: usize = 256;

/// Gemma's quote, at either side of a string.
pub(crate) const QUOTE: &str = "<|\"|>";

/// Whose language it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Python,
    Gemma,
}

/// What became of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translated {
    More,
    /// The arguments are complete.
    Done,
    Bad,
}

/// Arguments under way, behind the bracket that opens them.
#[derive(Clone, Debug)]
pub(crate) struct Literals {
    dialect: Dialect,
    /// The containers open, outermost first.
    open: Vec<Container>,
    at: At,
    /// What is there of a word, a quote or an escape.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    /// The arguments: names, each with a value.
    Arguments,
    Map,
    /// A list, or a tuple, by what closes it.
    List(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a key, or the end of what holds it.
    Key,
    /// Within a key that is no string.
    Name,
    /// Between a key and its value.
    Sign,
    /// Before a value.
    Value,
    /// Before a value, or the end of the list.
    Item,
    Word,
    /// Before the quote of a string is whole.
    Quote {
        is_key: bool,
    },
    Text {
        quote: char,
        is_key: bool,
    },
    Escape {
        quote: char,
        is_key: bool,
    },
    /// After a value.
    Comma,
}

impl Literals {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, open: vec![Container::Arguments], at: At::Key, text: String::new() }
    }

    /// Takes the next character and writes the JSON that is certain by it.
    pub(crate) fn step(&mut self, c: char, out: &mut String) -> Translated {
        match self.at {
            At::Name => self.name(c, out),
            At::Word => self.word(c, out),
            At::Quote { is_key } => self.quote(is_key, c, out),
            At::Text { quote, is_key } => self.string(quote, is_key, c, out),
            At::Escape { quote, is_key } => self.escape(quote, is_key, c, out),
            _ if c.is_ascii_whitespace() => Translated::More,
            At::Key => self.key(c, out),
            At::Sign if c == self.sign() => {
                out.push_str(": ");
                self.go(At::Value)
            }
            At::Sign => Translated::Bad,
            At::Item if Some(c) == self.closing() => self.close(out),
            At::Value | At::Item => self.value(c, out),
            At::Comma if Some(c) == self.closing() => self.close(out),
            At::Comma if c == ',' => {
                let is_list = matches!(self.open.last(), Some(Container::List(_)));
                self.text.clear();
                // Python's last comma has nothing behind it: JSON's waits for what follows.
                self.text.push(',');
                self.go(if is_list { At::Item } else { At::Key })
            }
            At::Comma => Translated::Bad,
        }
    }

    fn go(&mut self, at: At) -> Translated {
        self.at = at;
        Translated::More
    }

    fn sign(&self) -> char {
        let is_named = self.open.last() == Some(&Container::Arguments);
        if self.dialect == Dialect::Python && is_named { '=' } else { ':' }
    }

    fn closing(&self) -> Option<char> {
        match (self.open.last()?, self.dialect) {
            (Container::Arguments, Dialect::Python) => Some(')'),
            (Container::Arguments, Dialect::Gemma) | (Container::Map, _) => Some('}'),
            (Container::List(close), _) => Some(*close),
        }
    }

    /// Writes the comma that was read before, now that something follows it.
    fn separate(&mut self, out: &mut String) {
        if std::mem::take(&mut self.text) == "," {
            out.push_str(", ");
        }
    }

    fn close(&mut self, out: &mut String) -> Translated {
        self.text.clear();
        out.push(if matches!(self.open.pop(), Some(Container::List(_))) { ']' } else { '}' });
        if self.open.is_empty() { Translated::Done } else { self.go(At::Comma) }
    }

    fn key(&mut self, c: char, out: &mut String) -> Translated {
        if Some(c) == self.closing() {
            return self.close(out);
        }
        let named = self.dialect == Dialect::Gemma || self.open.last() == Some(&Container::Arguments);
        let quoted = self.dialect == Dialect::Gemma || self.open.last() == Some(&Container::Map);
        self.separate(out);
        match c {
            '<' if self.dialect == Dialect::Gemma => self.begin_quote(true, c),
            '"' | '\'' if self.dialect == Dialect::Python && quoted => self.begin_string(c, true, out),
            c if named && is_word(c) => {
                self.text.push(c);
                self.go(At::Name)
            }
            _ => Translated::Bad,
        }
    }

    fn name(&mut self, c: char, out: &mut String) -> Translated {
        if is_word(c) {
            return self.lengthen(c);
        }
        out.push_str(&serde_json::Value::from(std::mem::take(&mut self.text)).to_string());
        self.at = At::Sign;
        self.step(c, out)
    }

    fn lengthen(&mut self, c: char) -> Translated {
        self.text.push(c);
        if self.text.len() > MAX_WORD { Translated::Bad } else { Translated::More }
    }

    fn value(&mut self, c: char, out: &mut String) -> Translated {
        self.separate(out);
        match (c, self.dialect) {
            ('[' | '{' | '(', _) if self.open.len() == MAX_DEPTH => Translated::Bad,
            ('[', _) => self.begin_container(Container::List(']'), At::Item, '[', out),
            ('(', Dialect::Python) => self.begin_container(Container::List(')'), At::Item, '[', out),
            ('{', _) => self.begin_container(Container::Map, At::Key, '{', out),
            ('<', Dialect::Gemma) => self.begin_quote(false, c),
            ('"' | '\'', Dialect::Python) => self.begin_string(c, false, out),
            (c, _) if is_word(c) || matches!(c, '+' | '.') => {
                self.text.push(c);
                self.go(At::Word)
            }
            _ => Translated::Bad,
        }
    }

    fn begin_container(&mut self, container: Container, at: At, bracket: char, out: &mut String) -> Translated {
        self.open.push(container);
        out.push(bracket);
        self.go(at)
    }

    /// Reads on in a number, or one of the words that are values; it ends before what is neither.
    fn word(&mut self, c: char, out: &mut String) -> Translated {
        if is_word(c) || matches!(c, '+' | '.') {
            return self.lengthen(c);
        }
        let Some(json) = json_of_word(&std::mem::take(&mut self.text)) else { return Translated::Bad };
        out.push_str(&json);
        self.at = At::Comma;
        self.step(c, out)
    }

    fn begin_quote(&mut self, is_key: bool, c: char) -> Translated {
        self.text = c.into();
        self.go(At::Quote { is_key })
    }

    fn quote(&mut self, is_key: bool, c: char, out: &mut String) -> Translated {
        self.text.push(c);
        if self.text == QUOTE {
            return self.begin_string('<', is_key, out);
        }
        if QUOTE.starts_with(&self.text) { Translated::More } else { Translated::Bad }
    }

    fn begin_string(&mut self, quote: char, is_key: bool, out: &mut String) -> Translated {
        self.text.clear();
        out.push('"');
        self.go(At::Text { quote, is_key })
    }

    fn string(&mut self, quote: char, is_key: bool, c: char, out: &mut String) -> Translated {
        if self.dialect == Dialect::Gemma {
            return self.quoted(is_key, c, out);
        }
        match c {
            '\\' => self.go(At::Escape { quote, is_key }),
            c if c == quote => self.end_string(is_key, out),
            c => {
                push_escaped(c, out);
                Translated::More
            }
        }
    }

    /// Within Gemma's quotes nothing is escaped.
    fn quoted(&mut self, is_key: bool, c: char, out: &mut String) -> Translated {
        self.text.push(c);
        if self.text == QUOTE {
            return self.end_string(is_key, out);
        }
        while !QUOTE.starts_with(&self.text) {
            push_escaped(self.text.remove(0), out);
        }
        Translated::More
    }

    fn end_string(&mut self, is_key: bool, out: &mut String) -> Translated {
        self.text.clear();
        out.push('"');
        self.go(if is_key { At::Sign } else { At::Comma })
    }

    /// Reads on in an escape of Python's: <https://docs.python.org/3/reference/lexical_analysis.html#escape-sequences>.
    fn escape(&mut self, quote: char, is_key: bool, c: char, out: &mut String) -> Translated {
        self.text.push(c);
        let digits = match self.text.chars().next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        if digits > 0 {
            let code = &self.text[1..];
            if !code.chars().all(|c| c.is_ascii_hexdigit()) {
                return Translated::Bad;
            }
            if code.len() < digits {
                return Translated::More;
            }
            let Some(c) = u32::from_str_radix(code, 16).ok().and_then(char::from_u32) else { return Translated::Bad };
            push_escaped(c, out);
        } else {
            match c {
                'n' => out.push_str("\\n"),
                't' => out.push_str("\\t"),
                'r' => out.push_str("\\r"),
                'b' => out.push_str("\\b"),
                'f' => out.push_str("\\f"),
                '\n' => {}
                '\\' | '\'' | '"' => push_escaped(c, out),
                // Python leaves what it does not know as it stands.
                c => {
                    out.push_str("\\\\");
                    push_escaped(c, out);
                }
            }
        }
        self.text.clear();
        self.go(At::Text { quote, is_key })
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// A number, or a word that is a value, as JSON.
fn json_of_word(word: &str) -> Option<String> {
    match word {
        "True" | "true" => return Some("true".into()),
        "False" | "false" => return Some("false".into()),
        "None" | "null" | "none" => return Some("null".into()),
        _ => {}
    }
    let digits = word.strip_prefix('+').unwrap_or(word).replace('_', "");
    if !digits.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(number) = scan::json(&digits) {
        return Some(number);
    }
    let number = digits.parse::<f64>().ok().and_then(serde_json::Number::from_f64)?;
    Some(number.to_string())
}

#[cfg(test)]
mod tests;
