//! `weighbridge run`: a chat in the terminal, or one answer.

use std::io::{IsTerminal, Read, Write};
use std::sync::Arc;

use futures_util::StreamExt;
use weighbridge_backend::{Backend, Event, Failure as Attempt, Message, Request, Role, Sampling};
use weighbridge_engine::LocalModel;

use crate::cli::RunArguments;
use crate::config::Source;
use crate::failure::Failure;
use crate::local;
use crate::terminal::say;

pub(crate) fn run(source: &Source, arguments: &RunArguments) -> Result<(), Failure> {
    let model = local::with_weights(local::find(&arguments.model, source)?, &arguments.weights);
    let prompt = match &arguments.prompt {
        Some(prompt) => Some(prompt.clone()),
        None if std::io::stdin().is_terminal() => None,
        None => Some(read_prompt()?),
    };
    let backend = local::load(&model)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let mut chat = Chat::new(backend, arguments);
    match prompt {
        Some(prompt) => runtime.block_on(chat.ask(&prompt)),
        None => talk(&runtime, &mut chat, &model.name),
    }
}

fn read_prompt() -> Result<String, Failure> {
    let mut prompt = String::new();
    std::io::stdin()
        .read_to_string(&mut prompt)
        .map_err(|error| Failure::failed(format!("cannot read the prompt from standard input: {error}")))?;
    if prompt.trim().is_empty() {
        return Err(Failure::usage("the prompt on standard input is empty"));
    }
    Ok(prompt.trim_end().to_owned())
}

fn talk(runtime: &tokio::runtime::Runtime, chat: &mut Chat, name: &str) -> Result<(), Failure> {
    say!("\x1b[1m{name}\x1b[0m — an empty line or Ctrl-D ends the chat, /new begins another");
    loop {
        anstream::print!("\x1b[1;36m>\x1b[0m ");
        std::io::stdout().flush().map_err(Failure::failed)?;
        let mut line = String::new();
        let bytes = std::io::stdin().read_line(&mut line).map_err(Failure::failed)?;
        match line.trim() {
            "" if bytes == 0 => {
                say!();
                return Ok(());
            }
            "" => return Ok(()),
            "/new" => chat.forget(),
            // What goes wrong with one message, such as a full context, does not end the chat.
            prompt => {
                if let Err(failure) = runtime.block_on(chat.ask(prompt)) {
                    chat.take_back();
                    failure.report();
                }
            }
        }
    }
}

struct Chat {
    model: Arc<LocalModel>,
    sampling: Sampling,
    max_tokens: Option<u32>,
    messages: Vec<Message>,
    /// How many of them a new conversation begins with.
    kept: usize,
}

impl Chat {
    fn new(model: Arc<LocalModel>, arguments: &RunArguments) -> Self {
        let messages: Vec<Message> = arguments.system.iter().map(|text| Message::of_text(Role::System, text)).collect();
        let sampling = Sampling { temperature: arguments.temperature, seed: arguments.seed, ..Sampling::default() };
        Self { model, sampling, max_tokens: arguments.max_tokens, kept: messages.len(), messages }
    }

    fn forget(&mut self) {
        self.messages.truncate(self.kept);
    }

    /// Takes back the message that could not be answered.
    fn take_back(&mut self) {
        self.messages.pop();
    }

    /// Asks, and prints the answer as it is made.
    async fn ask(&mut self, prompt: &str) -> Result<(), Failure> {
        self.messages.push(Message::of_text(Role::User, prompt));
        let failed = |failure: Attempt| Failure::failed(failure);
        let mut events = self.model.answer(Arc::new(self.request())).await.map_err(failed)?.events;
        let (mut answer, mut out) = (String::new(), std::io::stdout());
        // Thoughts are told beside the answer, which alone goes on to whatever reads it.
        let mut thoughts = Thoughts::default();
        while let Some(event) = events.next().await {
            match event.map_err(failed)? {
                Event::Reasoning { text, .. } => thoughts.tell(&text),
                Event::Text { text, .. } => {
                    thoughts.end();
                    // A reader that has gone away wants no more.
                    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                        return Ok(());
                    }
                    answer.push_str(&text);
                }
                _ => {}
            }
        }
        thoughts.end();
        say!();
        self.messages.push(Message::of_text(Role::Assistant, answer));
        Ok(())
    }

    fn request(&self) -> Request {
        Request {
            sampling: self.sampling.clone(),
            max_output_tokens: self.max_tokens,
            stream: true,
            ..Request::new("run", self.model.offer().id.as_str(), self.messages.clone())
        }
    }
}

/// What the model thinks, on the error output.
#[derive(Default)]
struct Thoughts {
    open: bool,
}

impl Thoughts {
    fn tell(&mut self, text: &str) {
        self.open = true;
        // Who does not read them may have the answer all the same.
        _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            _ = std::io::stderr().write_all(b"\n\n");
        }
    }
}
