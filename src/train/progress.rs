//! How far a run is, for a person: a bar on a terminal, a line every ten seconds elsewhere. All on standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A run's progress.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    last_line: Instant,
}

impl Progress {
    /// Shows a run of `total` steps of which `step` are done.
    pub fn new(step: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{bar:30} step {pos}/{len}  {msg}  {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is valid");
            let bar = ProgressBar::new(total).with_style(style).with_position(step);
            bar.reset_eta();
            bar
        });
        Self {
            bar,
            total,
            last_line: Instant::now(),
        }
    }

    /// Takes the figures after `step` steps; a speed of zero is not known yet.
    pub fn update(&mut self, step: u64, loss: f64, images_per_s: f64, seconds_left: f64) {
        if images_per_s == 0.0 {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!("loss {loss:.5}  {images_per_s:.1} images/s"));
            bar.set_position(step);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let left = HumanDuration(Duration::from_secs(seconds_left as u64));
            eprintln!(
                "step {step}/{}  loss {loss:.5}  {images_per_s:.1} images/s  {left:#} left",
                self.total
            );
        }
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
