//! Reports for terminals, and in Markdown.

use std::fmt::Write;

use super::page::{Page, Table};
use crate::shown::{harmless, in_markdown};

/// What the figures of a section are set in from.
const INDENT: &str = "  ";

/// `page` for a terminal.
pub fn terminal(page: &Page) -> String {
    let mut text = String::new();
    line(&mut text, &page.title);
    line(&mut text, &page.subtitle);
    for alert in &page.alerts {
        line(&mut text, &format!("THROTTLED: {alert}"));
    }
    for warning in &page.warnings {
        line(&mut text, &format!("warning: {warning}"));
    }
    for section in &page.sections {
        line(&mut text, "");
        line(&mut text, &section.title);
        let width = section.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &section.rows {
            line(&mut text, &format!("{INDENT}{name:<width$}  {value}"));
        }
        if let Some(table) = &section.table {
            columns(&mut text, table);
        }
        for note in &section.notes {
            line(&mut text, &format!("{INDENT}{note}"));
        }
    }
    text
}

/// `page` in Markdown.
pub fn markdown(page: &Page) -> String {
    let mut text = String::new();
    line(&mut text, &format!("# {}\n\n{}\n", in_markdown(&page.title), in_markdown(&page.subtitle)));
    for alert in &page.alerts {
        line(&mut text, &format!("> **Throttled:** {}\n", in_markdown(alert)));
    }
    for warning in &page.warnings {
        line(&mut text, &format!("> Warning: {}\n", in_markdown(warning)));
    }
    for section in &page.sections {
        line(&mut text, &format!("## {}\n", in_markdown(&section.title)));
        if !section.rows.is_empty() {
            line(&mut text, "| | |\n|---|---|");
            for (name, value) in &section.rows {
                line(&mut text, &format!("| {} | {} |", in_markdown(name), in_markdown(value)));
            }
            line(&mut text, "");
        }
        if let Some(table) = &section.table {
            cells(&mut text, table.head.iter().map(|cell| in_markdown(cell)));
            let marks =
                (0..table.head.len()).map(|column| if table.is_words(column) { "---" } else { "--:" }.to_owned());
            cells(&mut text, marks);
            for row in &table.rows {
                cells(&mut text, row.iter().map(|cell| in_markdown(cell)));
            }
            line(&mut text, "");
        }
        for note in &section.notes {
            line(&mut text, &format!("{}\n", in_markdown(note)));
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn columns(text: &mut String, table: &Table) {
    let rows = || std::iter::once(&table.head).chain(&table.rows);
    let width = |column: usize| rows().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    for row in rows() {
        let mut whole = String::from(INDENT);
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            // Writing to a string does not fail.
            let _ =
                if table.is_words(column) { write!(whole, "{cell:<width$}") } else { write!(whole, "{cell:>width$}") };
            whole.push_str("  ");
        }
        line(text, &whole);
    }
}

/// One line, without what foreign values could command a terminal to do and without spaces at its end.
fn line(text: &mut String, line: &str) {
    text.push_str(harmless(line).trim_end_matches(' '));
    text.push('\n');
}

fn cells(text: &mut String, cells: impl Iterator<Item = String>) {
    line(text, &format!("| {} |", cells.collect::<Vec<_>>().join(" | ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::page::Section;

    #[test]
    fn foreign_values_stay_text() {
        let mut table = Table::new(&["tokens", "what"]);
        table.rows.push(vec!["7".into(), "a|b".into()]);
        let section = Section { title: "S".into(), table: Some(table), ..Section::default() };
        let page = Page {
            title: "A <b> *board*\u{1b}[31m".into(),
            alerts: vec!["hot".into()],
            sections: vec![section],
            ..Page::default()
        };
        let text = markdown(&page);
        assert!(text.starts_with("# A \\<b\\> \\*board\\*\u{fffd}\\[31m\n"), "{text}");
        assert!(text.contains("> **Throttled:** hot\n") && text.contains("| 7 | a\\|b |\n"), "{text}");
        assert!(text.contains("| --: | --- |\n"), "{text}");
        let text = terminal(&page);
        assert!(text.contains("\nTHROTTLED: hot\n") && text.ends_with("  tokens  what\n       7  a|b\n"), "{text}");
    }
}
