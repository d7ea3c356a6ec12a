//! Results as a picture: a bar for each work, as long as its share of the machine's limit.

use std::fmt::Write;

use super::report::Report;

const WIDTH: usize = 640;
const BAR: usize = 22;
const GAP: usize = 10;
const TOP: usize = 44;
/// Where bars begin.
const LEFT: usize = 110;
/// How long a bar at the limit is.
const WHOLE: f64 = 340.0;

/// The picture as SVG.
pub(super) fn svg(report: &Report) -> String {
    let height = TOP + report.results.len() * (BAR + GAP) + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"12\" y=\"24\" \
         font-size=\"15\">{}</text>\n",
        escaped(&report.title())
    );
    for (row, result) in report.results.iter().enumerate() {
        let top = TOP + row * (BAR + GAP);
        let text = top + 16;
        let share = result.share.map_or(0.0, |share| share.of);
        let length = (share.clamp(0.0, 1.2) * WHOLE) as usize;
        let of = result.share.map_or_else(String::new, |it| format!(", {:.0} % of {}", 100.0 * it.of, it.limit));
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"12\" y=\"{text}\">{}</text><rect x=\"{LEFT}\" y=\"{top}\" width=\"{WHOLE}\" height=\"{BAR}\" \
             fill=\"#e8e8e8\"/><rect x=\"{LEFT}\" y=\"{top}\" width=\"{length}\" height=\"{BAR}\" fill=\"#2b6cb0\"/>\
             <text x=\"{}\" y=\"{text}\">{:.1}/s{of}</text>",
            escaped(&result.work),
            LEFT + WHOLE as usize + 8,
            result.median,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
