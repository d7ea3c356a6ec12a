//! Pages of models, as Anthropic has them.

use serde_json::{Value, json};

use super::WireError;

const DEFAULT_LIMIT: usize = 20;
const MOST: usize = 1_000;

/// Which page is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
}

impl Page {
    /// Reads the query of an address.
    ///
    /// # Errors
    /// When a limit is out of its range, or both ends are named.
    pub(crate) fn parse(query: &str) -> Result<Self, WireError> {
        let mut page = Self { limit: DEFAULT_LIMIT, after: None, before: None };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    let why = || WireError::invalid("limit", format!("expected a whole number from 1 to {MOST}"));
                    page.limit = limit.ok_or_else(why)?;
                }
                "after_id" => page.after = Some(value.into_owned()),
                "before_id" => page.before = Some(value.into_owned()),
                _ => {}
            }
        }
        if page.after.is_some() && page.before.is_some() {
            return Err(WireError::invalid("before_id", "'after_id' is there as well; send one of them"));
        }
        Ok(page)
    }
}

/// One page of models.
///
/// # Errors
/// When the model that it is to begin or to end at is none of them.
pub(crate) fn model_page(names: &[String], page: &Page, model: impl Fn(&str) -> Value) -> Result<Value, WireError> {
    let place = |id: &String, key: &str| {
        let found = names.iter().position(|name| name == id);
        found.ok_or_else(|| WireError::invalid(key, "there is no model of that id"))
    };
    let (shown, has_more) = if let Some(id) = &page.before {
        let end = place(id, "before_id")?;
        let begin = end.saturating_sub(page.limit);
        (&names[begin..end], begin > 0)
    } else {
        let begin = page.after.as_ref().map(|id| place(id, "after_id")).transpose()?.map_or(0, |place| place + 1);
        let end = (begin + page.limit).min(names.len());
        (&names[begin..end], end < names.len())
    };
    let data: Vec<Value> = shown.iter().map(|name| model(name)).collect();
    Ok(json!({"data": data, "has_more": has_more, "first_id": shown.first(), "last_id": shown.last()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<(Vec<String>, bool), WireError> {
        let names = ["a", "b", "c/d", "e"].map(str::to_owned);
        let page = model_page(&names, &Page::parse(query)?, |name| name.into())?;
        let ids = page["data"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned));
        let ids: Vec<String> = ids.collect();
        assert_eq!(
            (page["first_id"].as_str(), page["last_id"].as_str()),
            (ids.first().map(|id| &**id), ids.last().map(|id| &**id))
        );
        Ok((ids, page["has_more"] == true))
    }

    #[test]
    fn pages_follow_each_other_in_both_directions() {
        for (query, ids, has_more) in [
            ("", &["a", "b", "c/d", "e"][..], false),
            ("limit=2", &["a", "b"], true),
            ("limit=2&after_id=b", &["c/d", "e"], false),
            ("limit=1&after_id=c%2Fd", &["e"], false),
            ("after_id=e", &[], false),
            ("limit=2&before_id=e", &["b", "c/d"], true),
            ("before_id=b&beta=true", &["a"], false),
        ] {
            let found = page(query).expect(query);
            assert_eq!(
                (found.0.iter().map(String::as_str).collect::<Vec<_>>(), found.1),
                (ids.to_vec(), has_more),
                "{query}"
            );
        }
        for query in ["limit=0", "limit=1001", "limit=x", "after_id=z", "after_id=a&before_id=b"] {
            assert!(page(query).is_err(), "{query}");
        }
    }
}
