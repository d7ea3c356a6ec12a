//! How long a provider asks us to wait.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Reads `retry-after-ms`, else `retry-after` in seconds (with a fraction, too) or as an HTTP date, which
/// is measured from `now`. What cannot be read counts as absent; a date in the past is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(wait) = text("retry-after-ms").and_then(|ms| seconds(ms, 1000.0)) {
        return Some(wait);
    }
    let text = text(RETRY_AFTER.as_str())?;
    seconds(text, 1.0).or_else(|| {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(SystemTime::try_from(date).ok()?.duration_since(now).unwrap_or_default())
    })
}

fn seconds(text: &str, a_second: f64) -> Option<Duration> {
    text.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number / a_second).ok())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn every_form_is_read_and_nonsense_is_none() {
        check(&[("retry-after", "2")], Some(2000));
        check(&[("retry-after", "0.25")], Some(250));
        check(&[("retry-after", "30"), ("retry-after-ms", "1500")], Some(1500));
        check(&[("retry-after", "Thu, 01 Jan 1970 00:01:00 GMT")], Some(50_000));
        check(&[("retry-after", "Thu, 01 Jan 1970 00:00:01 GMT")], Some(0));
        for nonsense in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            check(&[("retry-after", nonsense)], None);
        }
        check(&[], None);
    }

    fn check(headers: &[(&'static str, &'static str)], milliseconds: Option<u64>) {
        let map = headers
            .iter()
            .map(|&(name, value)| (reqwest::header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let now = UNIX_EPOCH + Duration::from_secs(10);
        assert_eq!(retry_after(&map.collect(), now), milliseconds.map(Duration::from_millis), "{headers:?}");
    }
}
