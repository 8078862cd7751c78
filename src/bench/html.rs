//! Reports as a page for browsers: one file that needs no network and no scripts, light or dark as the reader likes it.

use super::page::{Page, Section, Table};
use super::plot::Plot;
use crate::shown::commands;

const STYLE: &str = include_str!("style.css");

/// `page` as HTML.
pub fn html(page: &Page) -> String {
    let mut out = Out(String::new());
    out.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    out.element("title", "", &page.title);
    out.raw(&format!("<style>\n{STYLE}</style>\n<main>\n<header>\n"));
    out.element("h1", "", &page.title);
    out.element("p", "sub", &page.subtitle);
    out.raw("</header>\n");
    for alert in &page.alerts {
        out.element("p", "alert", &format!("Throttled: {alert}"));
    }
    for warning in &page.warnings {
        out.element("p", "warn", warning);
    }
    if !page.highlights.is_empty() {
        out.raw("<ul class=\"tiles\">\n");
        for (value, what) in &page.highlights {
            out.raw("<li>");
            out.element("b", "", value);
            out.element("span", "", what);
            out.raw("</li>\n");
        }
        out.raw("</ul>\n");
    }
    for section in &page.sections {
        out.section(section);
    }
    out.raw("</main>\n</html>\n");
    out.0
}

/// A page that is being written.
struct Out(String);

impl Out {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn element(&mut self, name: &str, class: &str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        self.raw(&format!("<{name}{class}>{}</{name}>\n", escape(text)));
    }

    fn section(&mut self, section: &Section) {
        self.raw("<section>\n");
        self.element("h2", "", &section.title);
        if !section.plots.is_empty() {
            self.raw("<div class=\"plots\">\n");
            section.plots.iter().for_each(|plot| self.plot(plot));
            self.raw("</div>\n");
        }
        if !section.rows.is_empty() {
            self.raw("<dl>\n");
            for (name, value) in &section.rows {
                self.raw("<div>");
                self.element("dt", "", name.trim());
                self.element("dd", "", value);
                self.raw("</div>\n");
            }
            self.raw("</dl>\n");
        }
        if let Some(table) = section.table.as_ref().filter(|table| !table.rows.is_empty()) {
            self.table(table);
        }
        for note in &section.notes {
            self.element("p", "note", note);
        }
        self.raw("</section>\n");
    }

    fn plot(&mut self, plot: &Plot) {
        self.raw("<figure>\n");
        self.raw("<figcaption>");
        self.element("b", "", plot.title());
        let (names, marks) = plot.legend();
        for (colour, name) in names {
            self.raw(&format!("<span class=\"key {colour}\"><i></i>{}</span>\n", escape(name)));
        }
        self.element("small", "", &marks);
        self.raw("</figcaption>\n");
        self.raw(&plot.svg());
        self.raw("\n</figure>\n");
    }

    fn table(&mut self, table: &Table) {
        // A wide table is scrolled in its own frame, also with the keyboard.
        self.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"figures\"><table>\n<thead><tr>");
        let class = |column: usize| if table.is_words(column) { "words" } else { "" };
        for (column, name) in table.head.iter().enumerate() {
            self.element("th", class(column), name);
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in &table.rows {
            self.raw("<tr>");
            for (column, cell) in row.iter().enumerate() {
                self.element("td", class(column), cell);
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table></div>\n");
    }
}

/// `text` so that HTML shows it as it is, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if commands(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_values_are_text_and_nothing_is_fetched() {
        let evil = "</style><script src=x onerror='a'>\"&";
        let mut table = Table::new(&[evil]);
        table.rows.push(vec![evil.into()]);
        let both = vec![(evil.to_owned(), evil.to_owned())];
        let section = Section {
            title: evil.into(),
            rows: both.clone(),
            table: Some(table),
            notes: vec![evil.into()],
            plots: vec![],
        };
        let list = vec![evil.to_owned()];
        let page = Page {
            title: evil.into(),
            subtitle: evil.into(),
            alerts: list.clone(),
            warnings: list,
            highlights: both,
            sections: vec![section],
        };
        let page = html(&page);
        assert!(!page.contains("<script") && page.matches("</style>").count() == 1, "{page}");
        assert_eq!(page.matches("&lt;script src=x onerror=&#39;a&#39;&gt;&quot;&amp;").count(), 13, "{page}");
        assert!(!page.contains("http") && !page.contains("url(") && !page.contains("@import"), "{page}");
    }
}
