//! Which route takes a request.

use std::fmt;
use std::sync::Arc;

use weighbridge_backend::{BackendId, Need};

use crate::pattern::takes;
use crate::{Asking, Match, Route};

/// The names that stand for something outside the routes.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Every backend that is set up.
    pub backends: &'a [BackendId],
    /// Every provider; `NAME/…` is a model there.
    pub providers: &'a [String],
}

/// Why no route takes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No route takes a model of this name.
    UnknownModel {
        /// The most similar name that the caller could have meant.
        nearest: Option<String>,
    },
    /// A route takes it, but its caller may not use that route.
    NotAllowed {
        /// The first such route.
        route: Arc<str>,
    },
    /// A route takes the model, but not this request.
    NoMatch {
        /// The first such route that the caller may use.
        route: Arc<str>,
        /// The first of its rules that leaves the request out.
        rule: Rule,
    },
}

/// A rule by which a route leaves out a request whose model it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The model names a backend that is not among the route's.
    Backends,
    /// A header is missing, or has another value.
    Headers,
    /// The caller is another.
    Callers,
    /// The path is another.
    Paths,
    /// The request does not ask for what the route is for.
    Capabilities,
}

/// The first route, in their order, that takes the request and that its caller may use.
///
/// A model that is exactly a known backend's id is *named outright*: the route must hold that backend. A
/// name below a known provider (`openai/…`) that is no known backend is a mistake, and no route takes it,
/// so that a misspelt model is never answered by another one. Any other name is an alias for the route.
///
/// # Errors
/// When there is none; see [`NoRoute`].
pub fn find_route<'r>(routes: &'r [Route], known: Known<'_>, asking: &Asking<'_>) -> Result<&'r Route, NoRoute> {
    let unknown = || NoRoute::UnknownModel { nearest: nearest_name(routes, asking) };
    let named = known.backends.iter().find(|id| id.as_str() == asking.model);
    if named.is_none() && known.is_below_a_provider(asking.model) {
        return Err(unknown());
    }
    let (mut not_allowed, mut no_match) = (None, None);
    for route in routes.iter().filter(|route| takes(&route.matches.models, asking.model)) {
        let allowed = may_use(asking, route);
        match unmet_rule(route, named, asking) {
            None if allowed => return Ok(route),
            None => not_allowed = not_allowed.or(Some(NoRoute::NotAllowed { route: route.name.clone() })),
            Some(rule) if allowed => {
                no_match = no_match.or(Some(NoRoute::NoMatch { route: route.name.clone(), rule }));
            }
            Some(_) => {}
        }
    }
    Err(not_allowed.or(no_match).unwrap_or_else(unknown))
}

/// The first rule, other than the one on models, by which `route` leaves the request out.
fn unmet_rule(route: &Route, named: Option<&BackendId>, asking: &Asking<'_>) -> Option<Rule> {
    let Match { models: _, headers, callers, paths, capabilities } = &route.matches;
    let asks_for = |capability| asking.asked.iter().any(|asked| asked.need == Need::Capability(capability));
    let caller_taken = callers.is_empty() || asking.caller.is_some_and(|caller| takes(callers, &caller.name));
    let rules = [
        (Rule::Backends, named.is_none_or(|id| route.backends.contains(id))),
        (Rule::Headers, headers.iter().all(|(name, pattern)| asking.has_header(name, |v| pattern.matches(v)))),
        (Rule::Callers, caller_taken),
        (Rule::Paths, takes(paths, asking.path)),
        (Rule::Capabilities, capabilities.iter().copied().all(asks_for)),
    ];
    rules.into_iter().find(|(_, met)| !met).map(|(rule, _)| rule)
}

fn may_use(asking: &Asking<'_>, route: &Route) -> bool {
    asking.caller.is_none_or(|caller| caller.may_use(&route.name))
}

impl Known<'_> {
    fn is_below_a_provider(&self, model: &str) -> bool {
        model.split_once('/').is_some_and(|(head, _)| {
            // A provider's name may itself hold a slash, so the head alone does not settle it.
            self.providers
                .iter()
                .any(|name| name == head || model.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/')))
        })
    }
}

impl Asking<'_> {
    fn has_header(&self, name: &str, is_right: impl Fn(&str) -> bool) -> bool {
        self.headers.iter().any(|(header, value)| header.eq_ignore_ascii_case(name) && is_right(value))
    }
}

/// The longest name, in bytes, that is worth a suggestion: comparing takes time in its square, and the name
/// comes from outside.
const NAME_BYTES: usize = 100;

/// The name most like the model's, among those that the caller's routes take; `None` where none is like it.
fn nearest_name(routes: &[Route], asking: &Asking<'_>) -> Option<String> {
    if asking.model.len() > NAME_BYTES {
        return None;
    }
    let names = routes.iter().filter(|route| may_use(asking, route)).flat_map(|route| {
        let models = &route.matches.models;
        let aliases = models.iter().filter(|pattern| pattern.is_literal()).map(|pattern| pattern.as_str());
        aliases.chain(route.backends.iter().map(BackendId::as_str).filter(|id| takes(models, id)))
    });
    // Two slips in a short name, one for each four letters of a long one.
    let slips = (asking.model.chars().count() / 4).max(2);
    names
        .map(|name| (unlikeness(asking.model, name), name))
        .filter(|(unlike, _)| *unlike <= slips)
        .min_by_key(|(unlike, _)| *unlike)
        .map(|(_, name)| name.to_owned())
}

/// How many letters apart two names are; leaving out the provider of the second is forgiven.
fn unlikeness(model: &str, name: &str) -> usize {
    let bare = name.split_once('/').map_or(name, |(_, bare)| bare);
    strsim::osa_distance(model, name).min(strsim::osa_distance(model, bare))
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownModel { nearest: None } => f.write_str("no route takes a model of this name"),
            Self::UnknownModel { nearest: Some(name) } => {
                write!(f, "no route takes a model of this name; the nearest is {name}")
            }
            Self::NotAllowed { route } => write!(f, "the caller may not use the route {route}"),
            Self::NoMatch { route, rule } => write!(f, "the route {route} takes the model, but {rule}"),
        }
    }
}

impl std::error::Error for NoRoute {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backends => "does not hold the backend of this name",
            Self::Headers => "not with these headers",
            Self::Callers => "not from this caller",
            Self::Paths => "not on this path",
            Self::Capabilities => "not without the capabilities that it is for",
        })
    }
}

#[cfg(test)]
mod tests {
    use weighbridge_backend::{Asked, Capability, DataClass, Priority};

    use super::*;
    use crate::{CallerFacts, Named, Pattern, Prefer, Require};

    fn patterns(words: &str) -> Vec<Pattern> {
        words.split_whitespace().map(Pattern::new).collect()
    }

    /// A route with its models and backends, each a list of words.
    fn route(name: &str, models: &str, backends: &str) -> Route {
        Route {
            name: name.into(),
            matches: Match { models: patterns(models), ..Match::default() },
            class: DataClass::Internal,
            backends: backends.split_whitespace().map(BackendId::new).collect(),
            prefer: Prefer::Order,
            require: Require::default(),
            named: Named::Only,
        }
    }

    fn asking(model: &str) -> Asking<'_> {
        Asking {
            model,
            path: "/v1/chat/completions",
            headers: &[],
            caller: None,
            header_class: None,
            asked: &[],
            max_output_tokens: None,
            choices: 1,
        }
    }

    fn caller(name: &str, routes: Option<&str>) -> CallerFacts {
        CallerFacts {
            name: name.into(),
            highest_class: DataClass::Restricted,
            class: None,
            routes: routes.map(|routes| routes.split_whitespace().map(Into::into).collect()),
            priority: Priority::Interactive,
        }
    }

    /// Two local models and one at `openai`.
    #[track_caller]
    fn check(routes: &[Route], asking: &Asking<'_>, expected: Result<&str, NoRoute>) {
        let backends = ["demo", "spare", "openai/gpt-5-mini"].map(BackendId::new);
        let known = Known { backends: &backends, providers: &["openai".to_owned(), "house/west".to_owned()] };
        let found = find_route(routes, known, asking).map(|route| &*route.name);
        assert_eq!(found, expected, "{}", asking.model);
    }

    fn unknown(nearest: Option<&str>) -> Result<&'static str, NoRoute> {
        Err(NoRoute::UnknownModel { nearest: nearest.map(str::to_owned) })
    }

    fn no_match(route: &str, rule: Rule) -> Result<&'static str, NoRoute> {
        Err(NoRoute::NoMatch { route: route.into(), rule })
    }

    #[test]
    fn the_first_route_that_takes_the_model_wins() {
        let routes = [route("one", "auto gpt-*", "demo"), route("two", "*", "demo"), route("three", "auto", "demo")];
        check(&routes, &asking("auto"), Ok("one"));
        check(&routes, &asking("gpt-4o"), Ok("one"));
        check(&routes, &asking("anything"), Ok("two"));
        check(&[route("all", "", "demo")], &asking("anything"), Ok("all"));
        check(&[], &asking("auto"), unknown(None));
    }

    #[test]
    fn a_model_named_outright_needs_a_route_that_holds_it() {
        let routes = [route("one", "*", "demo"), route("two", "* openai/*", "demo openai/gpt-5-mini")];
        check(&routes, &asking("demo"), Ok("one"));
        check(&routes, &asking("openai/gpt-5-mini"), Ok("two"));
        check(&routes, &asking("spare"), no_match("one", Rule::Backends));
    }

    #[test]
    fn a_misspelt_model_of_a_provider_is_answered_by_no_other() {
        let routes = [route("all", "*", "demo openai/gpt-5-mini")];
        check(&routes, &asking("openai/gpt-5-mimi"), unknown(Some("openai/gpt-5-mini")));
        check(&routes, &asking("openai/"), unknown(None));
        check(&routes, &asking("house/west/anything"), unknown(None));
        check(&routes, &asking("house/east"), Ok("all"));
        check(&routes, &asking("openai"), Ok("all"));
    }

    #[test]
    fn an_unknown_model_brings_the_nearest_name_that_would_do() {
        let routes = [route("default", "auto demo openai/*", "demo spare openai/gpt-5-mini")];
        check(&routes, &asking("dmeo"), unknown(Some("demo")));
        check(&routes, &asking("gpt-5-mini"), unknown(Some("openai/gpt-5-mini")));
        check(&routes, &asking("spar"), unknown(None));
        check(&routes, &asking("claude"), unknown(None));
        check(&routes, &asking(&"demo".repeat(100_000)), unknown(None));
        let team = caller("team", Some("other"));
        check(&routes, &Asking { caller: Some(&team), ..asking("dmeo") }, unknown(None));
    }

    #[test]
    fn every_rule_must_take_the_request() {
        let mut special = route("special", "auto", "demo");
        special.matches.headers = vec![("x-team".to_owned(), Pattern::new("red*"))];
        special.matches.callers = patterns("batch-*");
        special.matches.paths = patterns("/v1/chat/*");
        special.matches.capabilities = vec![Capability::Tools];
        let routes = [special];
        let asked = [Asked { parameter: "tools".to_owned(), need: Need::Capability(Capability::Tools), hint: false }];
        let batch = caller("batch-1", None);
        let right = Asking {
            headers: &[("X-Team", "blue"), ("X-Team", "red one")],
            caller: Some(&batch),
            asked: &asked,
            ..asking("auto")
        };
        check(&routes, &right, Ok("special"));
        check(&routes, &Asking { headers: &[("x-team", "blue")], ..right }, no_match("special", Rule::Headers));
        check(&routes, &Asking { caller: None, ..right }, no_match("special", Rule::Callers));
        check(&routes, &Asking { path: "/v1/embeddings", ..right }, no_match("special", Rule::Paths));
        check(&routes, &Asking { asked: &[], ..right }, no_match("special", Rule::Capabilities));
    }

    #[test]
    fn a_route_that_the_caller_may_not_use_is_passed_over() {
        let routes = [route("one", "auto", "demo"), route("two", "*", "demo")];
        let (second, none) = (caller("team", Some("two")), caller("team", Some("three")));
        check(&routes, &Asking { caller: Some(&second), ..asking("auto") }, Ok("two"));
        let refused = Err(NoRoute::NotAllowed { route: "one".into() });
        check(&routes, &Asking { caller: Some(&none), ..asking("auto") }, refused);
    }

    #[test]
    fn the_error_says_what_is_wrong() {
        for (error, text) in [
            (
                NoRoute::UnknownModel { nearest: Some("demo".to_owned()) },
                "no route takes a model of this name; the nearest is demo",
            ),
            (NoRoute::NotAllowed { route: "one".into() }, "the caller may not use the route one"),
            (
                NoRoute::NoMatch { route: "one".into(), rule: Rule::Paths },
                "the route one takes the model, but not on this path",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
