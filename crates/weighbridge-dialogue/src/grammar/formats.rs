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
}
