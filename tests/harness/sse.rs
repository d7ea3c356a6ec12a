//! Streamed answers, collected or read as they come.

use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::http::header;

/// A streamed answer, read to its end.
#[derive(Debug)]
pub struct Streamed {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its events, without `[DONE]`.
    pub events: Vec<Value>,
    /// Whether it ended with `[DONE]`.
    pub done: bool,
    /// Whether the connection broke before the body was whole.
    pub broken: bool,
}

impl Streamed {
    /// A header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The text of the first answer.
    pub fn text(&self) -> String {
        self.text_of(0)
    }

    /// The text of the answer with this index.
    pub fn text_of(&self, choice: u64) -> String {
        let choices = self.choices().filter(|c| c["index"] == choice);
        choices.filter_map(|c| c["delta"]["content"].as_str()).collect()
    }

    /// Why the answer with this index ended; `None` where it did not.
    pub fn finish_of(&self, choice: u64) -> Option<String> {
        let mut choices = self.choices().filter(|c| c["index"] == choice);
        choices.find_map(|c| c["finish_reason"].as_str()).map(str::to_owned)
    }

    /// Everything that is said of choices, in order.
    pub fn choices(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter_map(|event| event["choices"].as_array()).flatten()
    }

    /// The last event; null where there is none.
    pub fn last(&self) -> Value {
        self.events.last().cloned().unwrap_or_default()
    }

    /// The code of an error event at the end; empty where there is none.
    pub fn error_code(&self) -> String {
        self.last()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A streamed answer under way. Dropping it hangs up.
pub struct LiveStream {
    response: reqwest::Response,
    bytes: Vec<u8>,
    status: u16,
    headers: HeaderMap,
    events: Vec<Value>,
    done: bool,
    broken: bool,
}

impl LiveStream {
    pub(crate) fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { response, bytes: Vec::new(), status, headers, events: Vec::new(), done: false, broken: false }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(data) = self.take_data() {
                match data.as_str() {
                    "[DONE]" => self.done = true,
                    data => {
                        let event: Value = serde_json::from_str(data).expect("every event is JSON");
                        self.events.push(event.clone());
                        return Some(event);
                    }
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.bytes.extend_from_slice(&bytes),
                Ok(None) => return None,
                Err(_) => {
                    self.broken = true;
                    return None;
                }
            }
        }
    }

    /// Reads on until `texts` pieces of text have come.
    pub async fn read_texts(&mut self, texts: usize) {
        let mut left = texts;
        while left > 0 {
            let event = self.next().await.expect("the answer goes on");
            let text = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            left -= usize::from(!text.is_empty());
        }
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> Streamed {
        while self.next().await.is_some() {}
        let Self { status, headers, events, done, broken, .. } = self;
        Streamed { status, headers, events, done, broken }
    }

    /// The data of the next whole event that is there; comments have none and are passed over.
    fn take_data(&mut self) -> Option<String> {
        loop {
            let end = self.bytes.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let event = String::from_utf8(event).expect("a stream is text");
            let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            if !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
    }
}

/// Reads several answers to their ends at once.
pub(crate) async fn finish_all(streams: impl IntoIterator<Item = LiveStream>) -> Vec<Streamed> {
    futures_util::stream::iter(streams).map(LiveStream::finish).buffered(1000).collect().await
}
