//! A local model as a backend.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use weighbridge_backend::{
    Answer, Answering, Backend, Computation, Failure, FailureKind, Forecast, Health, Load, Meter, Offer, PromptCount,
    Request, Standing, Texts,
};
use weighbridge_dialogue::{ChatTemplate, CustomCalls, ToolSchemas};
use weighbridge_models::{Decoder, GenerationDefaults, LoadProgress, PAGE_TOKENS, Tokenizer};

use crate::board::{Board, Newcomer};
use crate::engine::{Engine, Message};
use crate::form::Forms;
use crate::formats::{Formats, answer_format};
use crate::life::Life;
use crate::memory;
use crate::offer::offer;
use crate::options::{LoadError, ModelOptions, PrefixReuse};
use crate::pages::{PagePool, Realm};
use crate::places::{Full, Place, Places};
use crate::prompt::{Prompter, invalid};
use crate::reply::Reply;
use crate::sampler::Settings;
use crate::scheduler::{Limits, Pace, Scheduler};
use crate::sequence::{Commission, Sequence};
use crate::stop::StopTexts;
use crate::text::AnswerText;
use crate::warm_up::warm_up;

/// The most tokens of prompts in a step where the options do not say.
pub(crate) const STEP_TOKENS: usize = 512;

/// A loaded model and the thread that computes it.
///
/// Its answers must be awaited within a tokio runtime: prompts are rendered and counted on that runtime's
/// blocking threads, for a prompt of megabytes takes seconds. Tokens are counted as they are computed or found
/// computed (prompt, once however many answers are wanted) and as they are drawn (answers, the token that ends one
/// included, for it costs a step as any other); [`Meter`] and the usage at the end are the same figures.
pub struct LocalModel {
    desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The caller's side of a model: what it takes to turn a request into sequences.
struct Desk {
    offer: Offer,
    prompter: Prompter,
    formats: Formats,
    forms: Forms,
    /// Tokens that end an answer.
    stop_tokens: Vec<u32>,
    defaults: GenerationDefaults,
    places: Places,
    prefix_reuse: PrefixReuse,
    /// Bytes of all pages there may be; 0 where it is not computed on pages.
    page_memory: u64,
    inbox: Sender<Message>,
    board: Arc<Board>,
    life: Arc<Life>,
}

impl LocalModel {
    /// Loads the weights and starts the thread. Blocks until the model is ready.
    ///
    /// # Errors
    /// When the checkpoint cannot be read or computed, has no tokenizer, has a chat template that is none, or
    /// has a shorter context than the one asked for.
    pub fn load(options: ModelOptions, progress: &mut dyn FnMut(LoadProgress)) -> Result<Arc<LocalModel>, LoadError> {
        Self::load_while(options, &mut |at| {
            progress(at);
            ControlFlow::Continue(())
        })
    }

    /// The same for as long as somebody wants it: where `progress` breaks off, the load ends within one matrix or as long
    /// as the tokenizer takes, and what was read is let go of.
    ///
    /// # Errors
    /// As [`LocalModel::load`], and where it was broken off.
    pub fn load_while(
        options: ModelOptions,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Arc<LocalModel>, LoadError> {
        let (desk, engine) = open(&options, progress)?;
        // The name of a thread cannot hold a zero byte.
        let thread = std::thread::Builder::new().name(desk.offer.id.as_str().replace('\0', ""));
        let life = Arc::clone(&desk.life);
        let run = move || {
            // What it had is dropped as the panic passes, before anybody is told.
            if catch_unwind(AssertUnwindSafe(|| engine.run())).is_err() {
                life.over();
            }
        };
        let thread = thread.spawn(run).map_err(LoadError::Thread)?;
        Ok(Arc::new(Self { desk: Arc::new(desk), thread: Mutex::new(Some(thread)) }))
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.desk.prompter.tokenizer
    }

    /// Bytes that its pages of keys and values may take; 0 where it is not computed on pages.
    pub(crate) fn page_memory(&self) -> u64 {
        self.desk.page_memory
    }

    /// Stops the model: it takes no new requests, fails those that run or wait with
    /// [`FailureKind::ShuttingDown`], and waits for its thread to end, which is a matter of one sequence's
    /// share of a step. Stopping twice does nothing more; dropping the model stops it too.
    pub fn stop(&self) {
        self.desk.life.stop();
        // Where it fails, the thread has ended already.
        _ = self.desk.inbox.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread was noted by the thread, and is told by `health`. The thread itself may call this when
        // it has died, and cannot wait for its own end.
        let thread = thread.filter(|thread| thread.thread().id() != std::thread::current().id());
        _ = thread.map(JoinHandle::join);
    }

    /// Whether its thread has ended by a fault.
    pub(crate) fn has_died(&self) -> bool {
        self.desk.life.has_died()
    }

    /// Has somebody told once its thread has ended by a fault and the memory of its weights is free, also where that has
    /// happened already. The one who asked last is told.
    pub(crate) fn when_dead(&self, tell: impl FnOnce() + Send + 'static) {
        self.desk.life.when_over(tell);
    }

    /// Ends its thread by a fault.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        _ = self.desk.inbox.send(Message::Die);
    }
}

/// Loads a model: its two sides, with no thread between them yet.
fn open(
    options: &ModelOptions,
    progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<(Desk, Engine), LoadError> {
    let checkpoint = &options.checkpoint;
    options.served_context()?;
    for (kind, weights) in checkpoint.expanded(options.compute) {
        tracing::warn!(model = options.id.as_str(), kind, weights, "cannot be computed packed: expanded to float32");
    }
    // A large vocabulary takes one thread as long as the weights take all of them, so neither waits for the other.
    let (front, decoder) = std::thread::scope(|scope| {
        let front = scope.spawn(|| front(options));
        let decoder = checkpoint.load_while(options.compute, progress);
        (front.join().unwrap_or_else(|panic| resume_unwind(panic)), decoder)
    });
    let ((mut offer, mut prompter), decoder) = (front?, decoder?);

    let mut pace = pace(options, &decoder);
    let plan = memory::plan(&decoder, options, prompter.context, pace.most())?;
    (offer.context, prompter.context) = (Some(plan.context), plan.context);
    let shares = decoder.computes_together() && !decoder.depends_on_length();
    let (inbox, messages) = channel();
    let life = Arc::new(Life::default());
    if let Err(error) = warm_up(&decoder, &mut pace) {
        // Whoever asks will be told.
        tracing::warn!(model = options.id.as_str(), %error, "the model could not be measured");
    }
    let pages = PagePool::new(plan.pages, PAGE_TOKENS);
    let pages = match decoder.window() {
        Some(window) => pages.with_windows(window, plan.windowed, pace.most()),
        None => pages,
    };
    let limits = Limits { max_running: plan.max_running, pace, replays_singly: decoder.depends_on_length() };
    let scheduler = Scheduler::new(limits, pages);
    let board = Arc::new(Board::new(&scheduler, decoder.cost().is_some()));
    let stop_tokens = checkpoint.stop_tokens().to_vec();
    let words = (prompter.tokenizer.clone(), stop_tokens);
    let engine = Engine::new(decoder, words, scheduler, messages, Arc::clone(&board), Arc::clone(&life));
    let desk = Desk {
        offer,
        formats: Formats::new(prompter.format, &prompter.tokenizer),
        prompter,
        forms: Forms::default(),
        stop_tokens: checkpoint.stop_tokens().to_vec(),
        defaults: checkpoint.generation_defaults(),
        places: Places::new(plan.max_running.saturating_add(options.max_waiting)),
        page_memory: plan.bytes,
        prefix_reuse: if shares { options.prefix_reuse } else { PrefixReuse::Off },
        inbox,
        board,
        life,
    };
    Ok((desk, engine))
}

/// By time where rows give the same bits however a prompt is cut; else in chunks of one size, so that the same
/// request gets the same text on a busy day.
fn pace(options: &ModelOptions, decoder: &Decoder) -> Pace {
    if decoder.computes_together() {
        Pace::bounded(options.prefill_chunk.unwrap_or(STEP_TOKENS), options.prefill_time)
    } else {
        Pace::fixed(options.prefill_chunk.unwrap_or(128))
    }
}

/// What a model offers and how it counts prompts: all that does not take its weights.
pub(crate) fn front(options: &ModelOptions) -> Result<(Offer, Prompter), LoadError> {
    let context = options.served_context()?;
    let tokenizer = options.checkpoint.tokenizer()?;
    let template = options.checkpoint.chat_template();
    let template = template.map(|source| ChatTemplate::new(&source.template, &source.special_tokens)).transpose()?;
    let vocabulary = options.checkpoint.spec().vocabulary;
    let format = answer_format(options, template.as_ref());
    let prompter = Prompter::new((template, format), tokenizer, (context, vocabulary), options.parse_special_tokens);
    let offer = offer(options, context, &prompter);
    Ok((offer, prompter))
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Backend for LocalModel {
    fn offer(&self) -> &Offer {
        &self.desk.offer
    }

    fn health(&self) -> Health {
        self.desk.life.health()
    }

    fn load(&self) -> Load {
        self.desk.places.load()
    }

    fn count_prompt(&self, request: &Request) -> Result<PromptCount, Failure> {
        let tokens = self.desk.prompter.prompt(request)?;
        Ok(PromptCount::Exact(tokens.len() as u64))
    }

    fn forecast(&self, request: &Request, standing: &Standing) -> Result<Forecast, Failure> {
        self.desk.forecast(request, standing)
    }

    fn texts(&self) -> Option<&dyn Texts> {
        Some(&self.desk.prompter)
    }

    fn computation(&self) -> Option<Computation> {
        Some(self.desk.board.computation())
    }

    fn answer(&self, request: Arc<Request>) -> Answer {
        let desk = Arc::clone(&self.desk);
        Box::pin(async move {
            desk.check_health()?;
            let places = desk.take_places(request.choices.get() as usize)?;
            let answering = tokio::task::spawn_blocking(move || desk.begin(&request, places)).await;
            answering.unwrap_or_else(|_| {
                Err(Failure::new(FailureKind::Internal, "the prompt could not be prepared; the log says why"))
            })
        })
    }
}

impl Desk {
    fn check_health(&self) -> Result<(), Failure> {
        match self.life.health() {
            Health::Ready => Ok(()),
            Health::Out(_) => Err(self.life.failure()),
        }
    }

    /// Takes places before any work is spent on the request.
    fn take_places(&self, answers: usize) -> Result<Vec<Place>, Failure> {
        self.places.take(answers).map_err(|Full { load, retry_after }| {
            let message = format!(
                "the model has no place left: {} answers run and {} wait; try again later, or raise its bounds",
                load.running, load.waiting
            );
            Failure { retry_after: Some(retry_after), ..Failure::new(FailureKind::Overloaded, message) }
        })
    }

    /// What to expect of a request.
    fn forecast(&self, request: &Request, standing: &Standing) -> Result<Forecast, Failure> {
        let prompt = self.prompter.prompt(request)?;
        let realm = self.realm(standing);
        let (newcomer, cached_tokens) = self.newcomer(&prompt, standing, realm.as_ref());
        Ok(Forecast {
            prompt: PromptCount::Exact(prompt.len() as u64),
            cached_tokens: cached_tokens as u64,
            first_token: self.board.first_token(&newcomer, self.places.interval()),
            token_time: self.board.token_time(),
        })
    }

    /// A prompt as the engine will see it, and how many tokens of it are computed already.
    fn newcomer<'a>(&self, prompt: &[u32], standing: &'a Standing, realm: Option<&Realm>) -> (Newcomer<'a>, usize) {
        let cached = realm.map_or(0, |realm| self.board.cached_tokens(realm, prompt));
        let tokens = prompt.len() - cached;
        let Standing { caller, priority, .. } = standing;
        let (pages, all_pages) = (tokens.div_ceil(PAGE_TOKENS), prompt.len().div_ceil(PAGE_TOKENS));
        (Newcomer { caller, priority: *priority, tokens, pages, all_pages }, cached)
    }

    /// Prepares the prompt and hands the request to the engine, one sequence for each of the places.
    fn begin(&self, request: &Request, places: Vec<Place>) -> Result<Answering, Failure> {
        let (prompt, thinks) = self.prompter.prompt_and_thought(request)?;
        let max_tokens = self.prompter.max_tokens(request, prompt.len())?;
        let settings = self.settings(request)?;
        let matcher = self.forms.matcher(request, &self.prompter, &prompt, &self.stop_tokens)?.map(Box::new);
        let echo = request.completion.as_ref().filter(|completion| completion.echo);
        let echo = echo.map(|completion| self.prompter.echo(completion));
        let meter = Meter::default();
        let (reply, events) = Reply::new(places.len(), meter.clone(), Arc::clone(&self.life));
        let Standing { caller, priority, deadline, .. } = request.standing.clone();
        // Whoever wants to know how likely the prompt is has it computed, also where it is there already.
        let scores_prompt = echo.is_some() && settings.logprobs.is_some();
        let realm = self.realm(&request.standing).filter(|_| !scores_prompt).map(Arc::new);
        self.board.announce(&self.newcomer(&prompt, &request.standing, realm.as_deref()).0);
        let commission =
            Arc::new(Commission { prompt, settings, max_tokens, reply, caller, priority, realm, deadline, echo });
        let tools = ToolSchemas::new(&request.tools);
        let sequences = (0..).zip(places).map(|(choice, place)| {
            let text = self.answer_text(request, &tools, choice, thinks);
            Sequence::new(Arc::clone(&commission), choice, place, matcher.clone(), text)
        });
        self.inbox.send(Message::Answer(sequences.collect())).map_err(|_| self.life.failure())?;
        Ok(Answering { events: Box::pin(events), meter })
    }

    /// How its tokens are drawn.
    fn settings(&self, request: &Request) -> Result<Settings, Failure> {
        let settings = Settings::new(&request.sampling, &self.defaults);
        let vocabulary = self.prompter.vocabulary;
        match settings.logit_bias.iter().find(|(token, _)| *token as usize >= vocabulary) {
            None => Ok(settings),
            Some((token, _)) => {
                let most = vocabulary.saturating_sub(1);
                let message =
                    format!("logit_bias names the token {token}, and this model has tokens 0 to {most}; leave it out");
                Err(invalid(message, "logit_bias"))
            }
        }
    }

    /// Within which a request shares the prefixes that are computed.
    fn realm(&self, standing: &Standing) -> Option<Realm> {
        let Standing { class, caller, .. } = standing;
        match self.prefix_reuse {
            PrefixReuse::Class => Some(Realm { class: *class, caller: None }),
            PrefixReuse::Caller => Some(Realm { class: *class, caller: caller.clone() }),
            PrefixReuse::Off => None,
        }
    }

    fn answer_text(&self, request: &Request, tools: &ToolSchemas, choice: u32, thinks: bool) -> AnswerText {
        let seed = format!("{}-{choice}", request.id);
        let reader = self.formats.reader(request, tools, thinks, &seed, &self.prompter.tokenizer);
        AnswerText::new(choice, reader, StopTexts::new(&request.sampling.stop), CustomCalls::new(&request.tools))
    }
}

#[cfg(test)]
pub(crate) mod tests;
