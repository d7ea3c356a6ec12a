//! A template's source, rewritten where minijinja's language is not Jinja's, and bounded where its
//! compiler trusts the source.
//!
//! - Lines end as Jinja ends them.
//! - `{% generation %}`, which transformers uses to mark what the assistant wrote, becomes a scope that
//!   prints its body just so.
//! - In a sum of strings of which one is marked `safe`, the others pass the filter [`MARKED`], for adding
//!   to a `Markup` escapes in Python, whether or not output is escaped.
//! - What a `for` goes through passes the filter [`ITERATED`], for Python refuses `None` there and
//!   minijinja does not; what a `set` keeps passes [`STORED`] or [`STORED_IN_NAMESPACE`], which bound how
//!   deep values are nested.
//!
//! Lines stay where they are, so that errors name the line of the original.

mod tags;

use std::ops::Range;

use tags::{Tag, TagKind, Tags};

/// The filter that what is added to a safe string passes.
pub(crate) const MARKED: &str = "__marked";
/// The filter that what a loop goes through passes.
pub(crate) const ITERATED: &str = "__iterated";
/// The filter that what a variable keeps passes.
pub(crate) const STORED: &str = "__stored";
/// The filter that what an attribute of a namespace keeps passes.
pub(crate) const STORED_IN_NAMESPACE: &str = "__stored_in_namespace";

/// Words and signs in one tag, of which each may nest the compiler by one; published templates have
/// fewer than 60.
const MAX_TAG_TOKENS: usize = 1000;

/// Branches in one template, which nest as well; published templates have fewer than 20.
const MAX_ELIFS: usize = 250;

/// Rewrites a source.
///
/// # Errors
/// When a bound is passed: the line of the tag, and what is wrong with it.
pub(crate) fn rewrite(source: &str) -> Result<String, (usize, &'static str)> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut writer = Writer { source: &source, written: String::with_capacity(source.len() * 5 / 4), copied: 0 };
    let mut elifs = 0;
    for tag in Tags::of(&source) {
        elifs += usize::from(tag.word(0) == Some("elif"));
        if tag.len() > MAX_TAG_TOKENS || elifs > MAX_ELIFS {
            let line = source[..tag.start].matches('\n').count() + 1;
            return Err((line, if elifs > MAX_ELIFS { "too many elifs" } else { "an expression is too long" }));
        }
        match tag.kind {
            TagKind::Statement => writer.rewrite_statement(&tag),
            TagKind::Expression => writer.rewrite_expression(&tag),
        }
    }
    Ok(writer.finish())
}

/// Whether a source reads the variable `name`, and does not only set it.
pub(crate) fn reads(source: &str, name: &str) -> bool {
    Tags::of(source).any(|tag| tag.reads(name))
}

/// The source as it is rewritten, copied up to some point.
struct Writer<'a> {
    source: &'a str,
    written: String,
    copied: usize,
}

impl Writer<'_> {
    fn rewrite_expression(&mut self, tag: &Tag<'_>) {
        for range in tag.summands_of_markup() {
            self.filter(range, MARKED);
        }
    }

    fn rewrite_statement(&mut self, tag: &Tag<'_>) {
        match (tag.word(0), tag.len()) {
            (Some("generation"), 1) => self.replace(tag.range(0..1), "with"),
            (Some("endgeneration"), 1) => self.replace(tag.range(0..1), "endwith"),
            (Some("for"), _) => {
                if let Some(range) = tag.iterated() {
                    self.filter(range, ITERATED);
                }
            }
            (Some("set"), _) => {
                if let Some((range, in_namespace)) = tag.stored() {
                    self.filter(range, if in_namespace { STORED_IN_NAMESPACE } else { STORED });
                }
            }
            _ => {}
        }
    }

    fn filter(&mut self, range: Range<usize>, name: &str) {
        let filtered = format!("({})|{name}", &self.source[range.clone()]);
        self.replace(Some(range), &filtered);
    }

    fn replace(&mut self, range: Option<Range<usize>>, text: &str) {
        let Some(range) = range else { return };
        self.written.push_str(&self.source[self.copied..range.start]);
        self.written.push_str(text);
        self.copied = range.end;
    }

    fn finish(mut self) -> String {
        self.written.push_str(&self.source[self.copied..]);
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(rewrite(source).as_deref(), Ok(expected), "{source}");
    }

    #[test]
    fn generation_becomes_a_scope() {
        check("{%- generation -%}a{% endgeneration +%}\r\nb", "{%- with -%}a{% endwith +%}\nb");
        check("{% set generation = 1 %}", "{% set generation = (1)|__stored %}");
    }

    #[test]
    fn what_loops_go_through_is_filtered() {
        check("{% for a in b %}", "{% for a in (b)|__iterated %}");
        check("{%- for a, b in c.items() if a in b -%}", "{%- for a, b in (c.items())|__iterated if a in b -%}");
        check("{% for a in (x if y else z) recursive %}", "{% for a in ((x if y else z))|__iterated recursive %}");
        check("{% for a in [' if %}', \"\\\" if \"] %}", "{% for a in ([' if %}', \"\\\" if \"])|__iterated %}");
    }

    #[test]
    fn what_is_kept_is_filtered() {
        check("{% set a = b == c %}", "{% set a = (b == c)|__stored %}");
        check("{% set a.b = {'c': {'d': 1}} %}", "{% set a.b = ({'c': {'d': 1}})|__stored_in_namespace %}");
        check("{% set a, b = c.d, 2 -%}", "{% set a, b = (c.d, 2)|__stored -%}");
        check("{% set a=-1-%}", "{% set a=(-1)|__stored-%}");
        check("{% set a | default('', x=true) %}b{% endset %}", "{% set a | default('', x=true) %}b{% endset %}");
    }

    #[test]
    fn what_is_added_to_a_safe_string_is_filtered() {
        check("{{ a + 'b'|safe + c[1 + 2] }}", "{{ (a)|__marked + ('b'|safe)|__marked + (c[1 + 2])|__marked }}");
    }

    #[test]
    fn all_else_is_left_as_it_is() {
        for source in [
            "{{ a + b }}",
            "{{ a|safe }}",
            "{{ a|safe + b if c else d }}",
            "",
            "{",
            "for a in b",
            "{# {% for a in b %} #}",
            "{{ '{% for a in b %}' }}",
            "{{ {'a': {}}['{% set a = 1 %}'] }}",
            "{% raw %}{% for a in b %}{{ x {%- endraw %}",
            "{% if a = b %}",
            "{% for a in",
            "{% set a =",
            "{{ 'a",
            "{% raw %}",
            "{% raw %}{% endrawing %}{% set a = 1 %}{% endraw -%}",
            "{# a",
        ] {
            check(source, source);
        }
    }

    #[test]
    fn a_variable_is_read_where_it_is_not_only_set() {
        for (source, expected) in [
            ("{% set tools = tools or [] %}", true),
            ("{% if not tools is defined %}{% endif %}", true),
            ("{{ f(tools) }}", true),
            ("{% set tools = none %}{{ x.tools }} tools {# {{ tools }} #}{{ 'tools' }}{{ f(tools=1) }}", false),
            ("{% raw %}{{ tools }}{% endraw %}", false),
        ] {
            assert_eq!(reads(source, "tools"), expected, "{source}");
        }
    }

    #[test]
    fn bounds_name_their_line() {
        assert_eq!(rewrite(&format!("a\n{{{{ a{} }}}}", ".b".repeat(501))), Err((2, "an expression is too long")));
        assert_eq!(rewrite(&"\n{% elif a %}".repeat(1000)), Err((252, "too many elifs")));
    }
}
