//! Routes: names looked up, patterns made, and one made up where a config has only models.

use weighbridge_backend::{BackendId, DataClass};
use weighbridge_policy::{Known, Match, Named, Pattern, Prefer, Require, Route};

use super::mistake::nearest;
use super::raw;
use super::reader::{Located, Place, Reader};
use super::resolve::resolve_capabilities;

pub(super) fn resolve(raw: &[raw::Route], known: Known<'_>, only_local: bool, reader: &Reader<'_>) -> Vec<Route> {
    if !raw.is_empty() {
        return raw.iter().filter_map(|route| resolve_route(route, known, reader)).collect();
    }
    if !only_local {
        let help = Some("a provider is reached only through a route: see config/weighbridge.toml".to_owned());
        reader.mistake(&Place::default(), "there are [[providers]] but no [[routes]]", help);
    }
    vec![implicit(known.backends)]
}

/// The route of a config that has none: every model by its name, and `auto` for the first that can.
pub(super) fn implicit(backends: &[BackendId]) -> Route {
    let names = backends.iter().map(BackendId::as_str);
    Route {
        name: "default".into(),
        matches: Match { models: ["auto"].into_iter().chain(names).map(Pattern::new).collect(), ..Match::default() },
        class: DataClass::Internal,
        backends: backends.to_vec(),
        prefer: Prefer::Order,
        require: Require::default(),
        named: Named::Only,
    }
}

fn resolve_route(route: &raw::Route, known: Known<'_>, reader: &Reader<'_>) -> Option<Route> {
    let backends = resolve_backends(route, known, reader);
    let name = route.name.as_ref()?;
    Some(Route {
        name: name.value.as_str().into(),
        matches: Match {
            models: patterns(&route.matches.models),
            headers: route
                .matches
                .headers
                .iter()
                .map(|(name, value)| (name.value.to_ascii_lowercase(), Pattern::new(value)))
                .collect(),
            callers: patterns(&route.matches.callers),
            paths: patterns(&route.matches.paths),
            capabilities: resolve_capabilities(&route.matches.capabilities, reader),
        },
        class: route.class.unwrap_or(DataClass::Internal),
        backends,
        prefer: route.prefer.unwrap_or(Prefer::Order),
        require: Require { regions: route.regions.clone(), min_quality: route.min_quality },
        named: route.named.unwrap_or_default(),
    })
}

fn resolve_backends(route: &raw::Route, known: Known<'_>, reader: &Reader<'_>) -> Vec<BackendId> {
    let Some(names) = route.backends.as_ref().filter(|names| !names.is_empty()) else {
        let help = known.backends.first().map(|backend| format!("such as backends = [\"{backend}\"]"));
        reader.mistake(&route.place, "the route has no backends", help);
        return Vec::new();
    };
    let find = |name: &Located<String>| {
        let found = known.backends.iter().find(|backend| backend.as_str() == name.value);
        if found.is_none() {
            let all: Vec<&str> = known.backends.iter().map(BackendId::as_str).collect();
            let help = nearest(&name.value, all.iter().copied())
                .or_else(|| (!all.is_empty()).then(|| format!("there are {}", all.join(", "))));
            let message = format!("there is no model or provider's model named \"{}\"", name.value);
            reader.mistake(&name.place, message, help);
        }
        found.cloned()
    };
    names.iter().filter_map(find).collect()
}

fn patterns(texts: &[Located<String>]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(&text.value)).collect()
}
