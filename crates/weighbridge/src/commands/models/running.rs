//! `weighbridge models status`, `load` and `unload`: the local models of a gateway that is running.

use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use crate::cli::GatewayArguments;
use crate::config::{Config, Listen, Source};
use crate::failure::Failure;
use crate::terminal::{self, say};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer that nothing has to be loaded for.
const STATUS_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn status(
    source: &Source,
    model: Option<&str>,
    gateway: &GatewayArguments,
    as_json: bool,
) -> Result<(), Failure> {
    let gateway = Gateway::new(source, gateway)?;
    let answer = gateway.ask(Method::GET, model.into_iter().collect(), Some(STATUS_TIMEOUT))?;
    if as_json {
        say!("{answer:#}");
        return Ok(());
    }
    let models = match &answer["data"] {
        Value::Array(models) => models.as_slice(),
        _ => std::slice::from_ref(&answer),
    };
    let mut table = terminal::table(&["model", "state", "memory", "answering", "waiting", "stays"]);
    for model in models {
        table.add_row([
            text(&model["id"]),
            state(model),
            bytes(&model["memory_bytes"]),
            number(&model["answering"]).to_string(),
            number(&model["waiting"]).to_string(),
            stays(model),
        ]);
    }
    say!("{table}");
    if let Some(held) = answer["memory_held_bytes"].as_u64() {
        let budget = answer["memory_budget_bytes"].as_u64();
        let of = budget.map_or_else(|| ", without a budget".to_owned(), |it| format!(" of {}", terminal::bytes(it)));
        say!("memory held: {}{of}", terminal::bytes(held));
    }
    Ok(())
}

pub(super) fn load(source: &Source, model: &str, gateway: &GatewayArguments) -> Result<(), Failure> {
    let status = Gateway::new(source, gateway)?.ask(Method::POST, vec![model, "load"], None)?;
    say!("{model} is {}: {}", text(&status["state"]), bytes(&status["memory_bytes"]));
    Ok(())
}

pub(super) fn unload(source: &Source, model: &str, gateway: &GatewayArguments) -> Result<(), Failure> {
    let status = Gateway::new(source, gateway)?.ask(Method::POST, vec![model, "unload"], None)?;
    say!("{model} is {}", text(&status["state"]));
    Ok(())
}

/// Where the gateway is and who asks it.
struct Gateway {
    url: Url,
    key: Option<String>,
}

impl Gateway {
    fn new(source: &Source, arguments: &GatewayArguments) -> Result<Self, Failure> {
        let url = match (&arguments.url, source) {
            (Some(url), _) => url.clone(),
            (None, Source::File(path, _)) => {
                let config = Config::read(path).map_err(Failure::Config)?;
                local_url(&config).ok_or_else(|| {
                    Failure::usage("this gateway listens on a socket alone; give it an address too, for this command")
                })?
            }
            (None, Source::None) => DEFAULT_URL.to_owned(),
        };
        let parsed = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed
            .ok_or_else(|| Failure::usage(format!("\"{url}\" is no address; expected one like {DEFAULT_URL}")))?;
        let key = arguments.key_env.as_ref().map(|variable| {
            let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
            key.ok_or_else(|| Failure::usage(format!("the key's variable {variable} is not set")))
        });
        Ok(Self { url: parsed, key: key.transpose()? })
    }

    /// Asks for `/admin/models/…` and gives the answer's JSON.
    fn ask(&self, method: Method, segments: Vec<&str>, timeout: Option<Duration>) -> Result<Value, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["admin", "models"]).extend(segments);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        runtime.block_on(async {
            let mut request = client(&url)?.request(method, url);
            if let Some(key) = &self.key {
                request = request.bearer_auth(key.trim());
            }
            if let Some(timeout) = timeout {
                request = request.timeout(timeout);
            }
            let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
            let status = answer.status();
            let body = answer.text().await.map_err(|error| self.unreachable(&error))?;
            let value: Value = serde_json::from_str(&body).unwrap_or_default();
            if status.is_success() && value.is_object() {
                Ok(value)
            } else {
                Err(self.refused(status.as_u16(), &value))
            }
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut why: &dyn std::error::Error = error;
        while let Some(source) = why.source() {
            why = source;
        }
        Failure::failed(format!(
            "no gateway answers at {}: {why}; start one with weighbridge serve, or name where it is with --url",
            self.url
        ))
    }

    fn refused(&self, status: u16, answer: &Value) -> Failure {
        let said = answer["error"]["message"].as_str().unwrap_or("it answers as no Weighbridge does");
        let advice = match (status, &self.key) {
            (401, None) => "; name the variable of an admin's key with --key-env",
            _ => "",
        };
        Failure::failed(format!("the gateway at {} refuses ({status}): {said}{advice}", self.url))
    }
}

/// Where a gateway with this config is reached from this machine; `None` where it is by a socket alone.
fn local_url(config: &Config) -> Option<String> {
    let mut address = config.listen.iter().find_map(Listen::as_tcp)?;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    Some(format!("{}://{address}", if config.tls.is_some() { "https" } else { "http" }))
}

fn client(url: &Url) -> Result<reqwest::Client, Failure> {
    // An error means that a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    if url.scheme() == "http" {
        // Without TLS there is nothing to check, and a small container may have no certificates to load.
        builder = builder.tls_certs_only([]);
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(Failure::failed)
}

/// The state of a model, with how far a load is or why there is none.
fn state(model: &Value) -> String {
    let state = text(&model["state"]);
    match state.as_str() {
        "loading" => {
            let (done, total) = (number(&model["loaded_bytes"]), number(&model["total_bytes"]));
            format!("loading, {} %", done * 100 / total.max(1))
        }
        "failed" => {
            let seconds = number(&model["retry_in_ms"]).div_ceil(1000);
            format!("failed: {}; tried again in {seconds} s", text(&model["reason"]))
        }
        _ => state,
    }
}

fn stays(model: &Value) -> String {
    match (model["pinned"].as_bool(), model["keep_alive_ms"].as_u64()) {
        (Some(true), _) => "pinned".to_owned(),
        (_, Some(kept)) => format!("until idle for {} s", Duration::from_millis(kept).as_secs_f32()),
        _ => "until its room is needed".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn bytes(value: &Value) -> String {
    terminal::bytes(number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_in_words() {
        let loading = serde_json::json!({"state": "loading", "loaded_bytes": 50, "total_bytes": 200});
        assert_eq!(state(&loading), "loading, 25 %");
        let failed = serde_json::json!({"state": "failed", "reason": "cut short", "retry_in_ms": 1200});
        assert_eq!(state(&failed), "failed: cut short; tried again in 2 s");
        assert_eq!(stays(&serde_json::json!({"pinned": true, "keep_alive_ms": 5})), "pinned");
        assert_eq!(stays(&serde_json::json!({"pinned": false, "keep_alive_ms": 500})), "until idle for 0.5 s");
    }
}
