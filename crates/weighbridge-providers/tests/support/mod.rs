//! A provider on this machine that does exactly what a test tells it, byte by byte.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use weighbridge_backend::{
    Backend, BackendId, DataClass, Dialect, Event, Failure, Message, Meter, Offer, Original, Price, Request, Role,
    Usage,
};
use weighbridge_providers::{Client, ClientError, HostedModel, ProviderOptions, Timeouts, capabilities};

/// One step of an upstream's answer.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the client has closed the connection, and notes that it did.
    AwaitHangUp,
    /// Waits for another request on the same connection.
    AwaitRequest,
}

/// A listener that answers every connection with the same steps and then closes it.
pub(crate) struct Upstream {
    pub(crate) base_url: String,
    seen: Arc<Mutex<Seen>>,
}

/// What the upstream has seen.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// The head of the latest request, in lower case.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
    /// How many connections were opened.
    pub(crate) connections: usize,
    /// Whether the client hung up in [`Step::AwaitHangUp`].
    pub(crate) hung_up: bool,
}

impl Upstream {
    pub(crate) fn start(steps: Vec<Step>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base_url = format!("http://{}/v1/", listener.local_addr()?);
        let seen = Arc::<Mutex<Seen>>::default();
        let noted = Arc::clone(&seen);
        // The thread ends with the test's process; its listener has nobody else to serve.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let _ = serve(connection, &steps, &noted);
            }
        });
        Ok(Self { base_url, seen })
    }

    /// An upstream that answers with one status and body.
    pub(crate) fn answers(status: &str, headers: &str, body: &str) -> io::Result<Self> {
        Self::start(vec![Step::Send(response(status, headers, body))])
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A response with a length.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into()
}

/// The head of a stream that ends when the connection does.
pub(crate) fn stream_head() -> Step {
    Step::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n".to_vec(),
    )
}

/// One event of a stream.
pub(crate) fn event(data: &str) -> Step {
    Step::Send(format!("data: {data}\n\n").into())
}

fn serve(mut connection: TcpStream, steps: &[Step], seen: &Mutex<Seen>) -> io::Result<()> {
    let note = |change: &dyn Fn(&mut Seen)| change(&mut seen.lock().unwrap_or_else(PoisonError::into_inner));
    note(&|seen| seen.connections += 1);
    let (head, body) = read_request(&mut connection)?;
    note(&|seen| (seen.head, seen.body) = (head.clone(), body.clone()));
    for step in steps {
        match step {
            Step::Send(bytes) => connection.write_all(bytes)?,
            Step::Wait(pause) => thread::sleep(*pause),
            Step::AwaitHangUp => {
                connection.set_read_timeout(Some(Duration::from_secs(5)))?;
                let closed = matches!(connection.read(&mut [0]), Ok(0));
                note(&|seen| seen.hung_up = closed);
            }
            Step::AwaitRequest => drop(read_request(&mut connection)?),
        }
    }
    Ok(())
}

fn read_request(connection: &mut TcpStream) -> io::Result<(String, String)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = connection.read(&mut piece)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok((head, body.to_owned()));
            }
        }
    }
}

/// What came of one attempt.
pub(crate) struct Answered {
    pub(crate) events: Vec<Event>,
    pub(crate) failure: Option<Failure>,
    pub(crate) used: Usage,
}

impl Answered {
    /// The text of all events.
    pub(crate) fn text(&self) -> String {
        let text = |event: &Event| match event {
            Event::Text { text, .. } => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }
}

/// A model at `base_url` with short bounds; `change` sets what the test is about.
pub(crate) fn model(base_url: &str, change: impl FnOnce(&mut ProviderOptions)) -> Result<HostedModel, ClientError> {
    let mut options = ProviderOptions::new("upstream", base_url);
    options.timeouts = Timeouts {
        connect: Duration::from_millis(500),
        first_token: Duration::from_millis(600),
        between_tokens: Duration::from_millis(600),
        total: Duration::from_secs(5),
    };
    change(&mut options);
    let offer = Offer {
        id: BackendId::new("upstream/m"),
        local: false,
        clearance: DataClass::Internal,
        region: None,
        price: Price::default(),
        quality: None,
        context: None,
        capabilities: capabilities(),
        dialect: Some(Dialect::OpenAiChat),
        fingerprint: None,
        licence: None,
    };
    Ok(HostedModel::new(&Client::new(options)?, offer, "up-model".to_owned(), None))
}

/// Makes one attempt and reads it to its end.
pub(crate) async fn ask(model: &HostedModel) -> Answered {
    let answering = match model.answer(Arc::new(request())).await {
        Ok(answering) => answering,
        Err(failure) => return Answered { events: Vec::new(), failure: Some(failure), used: Meter::default().usage() },
    };
    let mut stream = answering.events;
    let (mut events, mut failure) = (Vec::new(), None);
    while let Some(next) = stream.next().await {
        match next {
            Ok(event) => events.push(event),
            Err(error) => failure = Some(error),
        }
    }
    Answered { events, failure, used: answering.meter.usage() }
}

/// A request as the gateway makes it, with a field that we do not know.
pub(crate) fn request() -> Request {
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"max_tokens":5,"brand_new":{"a":1}}"#;
    Request {
        max_output_tokens: Some(5),
        stream: true,
        original: Some(Original { dialect: Dialect::OpenAiChat, body: body.as_bytes().into() }),
        ..Request::new("r-1", "auto", vec![Message::of_text(Role::User, "hi")])
    }
}
