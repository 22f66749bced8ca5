//! The table on the screen.

use std::io::IsTerminal;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use crate::cli::common::print;

/// The columns: what stands above them, and the field they show.
const COLUMNS: [(&str, &str); 9] = [
    ("frames", "frames"),
    ("fps", "fps"),
    ("inferred", "inferred"),
    ("stale", "stale"),
    ("late", "late"),
    ("ms p50", "ms_p50"),
    ("ms p99", "ms_p99"),
    ("behind p50", "latency_ms_p50"),
    ("behind p99", "latency_ms_p99"),
];

/// Where the table is shown.
pub struct Screen {
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Standard output is for the JSON.
    aside: bool,
    /// Whether the columns are named already, where each look is some lines more.
    named: bool,
}

impl Screen {
    /// A terminal, or lines; on standard error where standard output is for others (`aside`).
    pub fn new(aside: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg}").expect("the template is valid");
            ProgressBar::new_spinner().with_style(style)
        });
        Self {
            bar,
            aside,
            named: false,
        }
    }

    /// Shows how it is now.
    pub fn show(&mut self, figures: &Map<String, Value>) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_message(head(figures) + &rows(figures) + &foot(figures));
            bar.tick();
            return Ok(());
        }
        let head = if self.named { String::new() } else { head(figures) };
        self.named = true;
        self.write(&(head + &rows(figures)))
    }

    /// Shows how it was all in all.
    pub fn last(&self, figures: &Map<String, Value>) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.write(&(head(figures) + &rows(figures) + &foot(figures)))
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn write(&self, text: &str) -> Result<()> {
        if self.aside {
            eprint!("{text}");
            return Ok(());
        }
        print(text)
    }
}

/// The elements' figures by their names.
fn named(figures: &Map<String, Value>) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    figures
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_object()?)))
}

/// How wide the names are.
fn width(figures: &Map<String, Value>) -> usize {
    let widths = named(figures).map(|(name, _)| name.chars().count());
    widths.max().unwrap_or(0).max("element".len())
}

fn head(figures: &Map<String, Value>) -> String {
    let width = width(figures);
    let columns: String = COLUMNS.iter().map(|(title, _)| format!("{title:>12}")).collect();
    format!("{:width$}{columns}\n", "element")
}

fn rows(figures: &Map<String, Value>) -> String {
    let width = width(figures);
    let cell = |value: Option<&Value>| match value {
        Some(value) if value.is_f64() => format!("{:.1}", value.as_f64().unwrap_or(f64::NAN)),
        Some(value) => value.to_string(),
        None => "-".into(),
    };
    let row = |(name, fields): (&String, &Map<String, Value>)| {
        let columns = COLUMNS
            .iter()
            .map(|(_, field)| format!("{:>12}", cell(fields.get(*field))));
        format!("{name:width$}{}\n", columns.collect::<String>())
    };
    named(figures).map(row).collect()
}

fn foot(figures: &Map<String, Value>) -> String {
    let seconds = figures["seconds"].as_f64().unwrap_or(0.0);
    let latency = figures["latency_ms"].as_f64();
    let latency = latency
        .map(|ms| format!(", latency of the pipeline {ms:.0} ms"))
        .unwrap_or_default();
    format!("{seconds:.1} s{latency}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_element_does_not_count_is_a_dash() {
        let stats = json!({ "frames": 120, "fps": 29.97, "ms_p50": 3.149 });
        let figures = json!({ "seconds": 4.0, "latency_ms": 148.0, "a-long-name-of-an-element": stats, "b": {} });
        let figures = figures.as_object().expect("an object");
        let table = rows(figures);
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            cells(lines[0]),
            [
                "a-long-name-of-an-element",
                "120",
                "30.0",
                "-",
                "-",
                "-",
                "3.1",
                "-",
                "-",
                "-"
            ]
        );
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(head(figures).trim_end().len(), lines[0].len());
        assert_eq!(foot(figures), "4.0 s, latency of the pipeline 148 ms\n");
    }
}
