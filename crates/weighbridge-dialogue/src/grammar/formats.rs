//! Formats of strings whose patterns we know better than llguidance does.
//!
//! Its patterns of dates allow the 29th of February in every year and a leap second in every minute. What is allowed
//! here is always right; of leap seconds there are none.

/// 01 to 12 with the days that they have, but for the 29th of February.
const MONTH_DAY: &str = "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
/// Years that have it.
const LEAP_YEAR: &str = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
const CLOCK: &str =
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";

/// The pattern of a format; `None` leaves it to llguidance.
pub(super) fn pattern(format: &str) -> Option<String> {
    // RFC 3339; the year 0000 is left out, which some calendars do not have.
    let date = format!("(?:(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{{2}}|[1-9][0-9]{{3}})-{MONTH_DAY}|{LEAP_YEAR}-02-29)");
    match format {
        "date" => Some(format!("^{date}$")),
        "date-time" => Some(format!("^{date}T{CLOCK}$")),
        "time" => Some(format!("^{CLOCK}$")),
        _ => None,
    }
}

/// The pattern of a format where a string is written bare, without anchors; `None` where there is none. What it allows
/// is of the format, though not all that is: of mail addresses and URIs only the plain ones.
pub(super) fn bare(format: &str) -> Option<String> {
    const HOST: &str =
        "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*";
    Some(match format {
        "uuid" => "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}".to_owned(),
        "ipv4" => {
            let octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
            format!("(?:{octet}\\.){{3}}{octet}")
        }
        "ipv6" => ipv6(),
        "hostname" => HOST.to_owned(),
        "email" => format!("[a-zA-Z0-9_+-]{{1,30}}(?:\\.[a-zA-Z0-9_+-]{{1,30}})?@{HOST}"),
        "uri" => {
            let sign = "(?:[a-zA-Z0-9._~!$&'()*+,;=:@-]|%[0-9a-fA-F]{2})";
            format!(
                "[a-zA-Z][a-zA-Z0-9+.-]*:(?://{HOST}(?::[0-9]{{1,4}})?(?:/{sign}*)*|{sign}+(?:/{sign}*)*)\
                 (?:\\?(?:{sign}|[/?])*)?(?:#(?:{sign}|[/?])*)?"
            )
        }
        "duration" => {
            let date = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)";
            let time = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)";
            format!("P(?:{date}(?:{time})?|{time}|[0-9]+W)")
        }
        _ => return None,
    })
}

/// Eight groups, of which a run may be left out once.
fn ipv6() -> String {
    let group = "[0-9a-fA-F]{1,4}";
    let shortened = (1..=6).map(|left| format!("(?:{group}:){{1,{left}}}(?::{group}){{1,{}}}", 7 - left));
    let mut all: Vec<_> = shortened.collect();
    all.extend([
        format!("(?:{group}:){{7}}{group}"),
        format!("(?:{group}:){{1,7}}:"),
        format!(":(?::{group}){{1,7}}"),
        "::".to_owned(),
    ]);
    all.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_day_is_in_leap_years_alone() {
        let schema = |format: &str| {
            let pattern = pattern(format).unwrap_or_default();
            jsonschema::validator_for(&serde_json::json!({"type": "string", "pattern": pattern}))
        };
        let date = schema("date").expect("it is a schema");
        for good in ["2024-02-29", "2000-02-29", "0004-02-29", "2023-02-28", "2023-12-31", "2023-04-30", "9999-01-01"] {
            assert!(date.is_valid(&good.into()), "{good}");
        }
        for bad in ["2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "2023-00-01", "0000-01-01", "2023-1-1"] {
            assert!(!date.is_valid(&bad.into()), "{bad}");
        }
        let time = schema("date-time").expect("it is a schema");
        assert!(time.is_valid(&"2024-02-29T23:59:59.5+02:00".into()) && !time.is_valid(&"2024-02-29T23:59:60Z".into()));
    }

    #[test]
    fn what_is_written_bare_is_of_its_format() {
        for (format, good, bad) in [
            (
                "uuid",
                &["123e4567-e89b-12d3-a456-426614174000"][..],
                &["123e4567", "123e4567-e89b-12d3-a456-42661417400g"][..],
            ),
            ("ipv4", &["127.0.0.1", "255.249.1.99"], &["256.0.0.1", "01.2.3.4", "1.2.3"]),
            ("ipv6", &["::", "::1", "1::", "fe80::1:2", "1:2:3:4:5:6:7:8"], &["1:2", ":::", "1:2:3:4:5:6:7:8:9"]),
            ("hostname", &["a", "www.example.org"], &["-a", "a..b", ""]),
            ("email", &["ada.lovelace@example.org", "a+b@c"], &["@c", "a@", ".a@b"]),
            ("uri", &["https://example.org:8080/a/b?c=d#e", "mailto:a@b"], &["example.org", "a b:c"]),
            ("duration", &["P1Y2M3DT4H5M6S", "PT5M", "P2W"], &["P", "PT", "1Y"]),
        ] {
            let pattern = bare(format).expect("it is one of them");
            let ours = jsonschema::validator_for(&serde_json::json!({"pattern": format!("^(?:{pattern})$")}));
            let ours = ours.expect("it is a pattern");
            let theirs = serde_json::json!({"format": format});
            let theirs = jsonschema::options().should_validate_formats(true).build(&theirs).expect("it is a schema");
            for text in good {
                assert!(ours.is_valid(&(*text).into()) && theirs.is_valid(&(*text).into()), "{format} {text}");
            }
            for text in bad {
                assert!(!ours.is_valid(&(*text).into()), "{format} {text}");
            }
        }
        assert!(bare("iso-country").is_none());
    }
}
