//! Models that are set while frames flow, and what the elements answer.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gst::prelude::*;

use super::ELEMENTS;

/// The shipped models that take turns.
const GOOD: [[&str; 2]; 3] = [
    ["denoise-testsrc", "denoise-fast-rgb"],
    ["anomaly-testsrc", "anomaly-magnetic-tile"],
    ["classify-testsrc", "classify-neu"],
];
/// Which of the changes are to a model that cannot be used.
const BAD_EACH: usize = 5;

/// A model that an element was asked to take.
struct Asked {
    file: PathBuf,
    is_good: bool,
    at: Instant,
}

/// What was asked for and what was answered.
pub struct Reloads {
    /// Of each element, the files that it can use.
    good: HashMap<&'static str, Vec<PathBuf>>,
    bad: Vec<PathBuf>,
    rounds: usize,
    asked: HashMap<String, Asked>,
    counts: Counts,
    longest: Duration,
    faults: Vec<String>,
}

#[derive(Default)]
struct Counts {
    asked: usize,
    reloaded: usize,
    rejected: usize,
    warnings: usize,
}

impl Reloads {
    /// Puts copies of the models, and files that are none, into `folder`.
    pub fn prepare(models: &Path, folder: &Path) -> Result<Self> {
        let mut good = HashMap::new();
        for ((element, _), names) in ELEMENTS.iter().zip(GOOD) {
            let mut files = Vec::new();
            for name in names {
                let (from, to) = (models.join(name).with_extension("safetensors"), folder.join(name));
                std::fs::copy(&from, &to).with_context(|| format!("{}", from.display()))?;
                files.push(to);
            }
            good.insert(*element, files);
        }
        let whole = std::fs::read(folder.join(GOOD[0][0]))?;
        let [rubbish, cut, missing] = ["rubbish", "cut", "missing"].map(|name| folder.join(name));
        std::fs::write(&rubbish, b"not a model at all")?;
        std::fs::write(&cut, &whole[..whole.len() / 2])?;
        Ok(Self {
            good,
            bad: vec![rubbish, cut, missing, folder.to_owned()],
            rounds: 0,
            asked: HashMap::new(),
            counts: Counts::default(),
            longest: Duration::ZERO,
            faults: Vec::new(),
        })
    }

    /// The model that the element starts with.
    pub fn first(&self, element: &str) -> &Path {
        &self.good[element][0]
    }

    pub fn fault(&mut self, fault: String) {
        // Enough to see what it is.
        if self.faults.len() < 10 {
            self.faults.push(fault);
        }
    }

    /// Whether every element has answered. One that takes longer than `patience` is waited for no more.
    pub fn are_answered(&mut self, patience: Duration) -> bool {
        if self.asked.values().any(|asked| asked.at.elapsed() > patience) {
            self.blame_silence();
        }
        self.asked.is_empty()
    }

    fn blame_silence(&mut self) {
        for (element, asked) in std::mem::take(&mut self.asked) {
            self.fault(format!("{element} has not answered for {}", asked.file.display()));
        }
    }

    /// Sets the next model of each element.
    pub fn ask(&mut self, pipeline: &gst::Pipeline) {
        self.rounds += 1;
        let is_good = !self.rounds.is_multiple_of(BAD_EACH);
        let good_rounds = self.rounds - self.rounds / BAD_EACH;
        for (index, (name, _)) in ELEMENTS.iter().enumerate() {
            let file = match is_good {
                true => self.good[name][good_rounds % 2].clone(),
                false => self.bad[(self.rounds / BAD_EACH + index) % self.bad.len()].clone(),
            };
            let element = pipeline.by_name(name).expect("the launch line names it");
            let path = file.to_str().map(str::to_owned);
            let at = Instant::now();
            self.asked.insert((*name).to_owned(), Asked { file, is_good, at });
            self.counts.asked += 1;
            element.set_property("model-file", path);
        }
    }

    /// Takes in a message of the pipeline.
    pub fn hear(&mut self, message: &gst::Message) {
        use gst::MessageView::*;
        let source = message
            .src()
            .map(|source| source.name().to_string())
            .unwrap_or_default();
        match message.view() {
            Element(told) => {
                let Some(structure) = told.structure() else { return };
                match structure.name().as_str() {
                    "model-reloaded" => self.answer(&source, structure, true),
                    "model-rejected" => self.answer(&source, structure, false),
                    name if name == source => {}
                    name => self.fault(format!("{source} posted `{name}`")),
                }
            }
            Error(error) => self.fault(format!("{source}: {}: {:?}", error.error(), error.debug())),
            // Each refusal is told to people too.
            Warning(warning) if warning.error().is::<gst::ResourceError>() => self.counts.warnings += 1,
            StateChanged(_) | StreamStatus(_) | StreamStart(_) | Progress(_) | Latency(_) | AsyncDone(_)
            | NewClock(_) | Tag(_) | Eos(_) => {}
            _ => self.fault(format!("an unexpected message: {message:?}")),
        }
    }

    fn answer(&mut self, element: &str, told: &gst::StructureRef, taken: bool) {
        let Some(asked) = self.asked.remove(element) else {
            return self.fault(format!("{element} answers though nothing was asked: {told}"));
        };
        let count = if taken {
            &mut self.counts.reloaded
        } else {
            &mut self.counts.rejected
        };
        *count += 1;
        self.longest = self.longest.max(asked.at.elapsed());
        if taken != asked.is_good || told.get::<&str>("model-file").ok() != asked.file.to_str() {
            self.fault(format!(
                "{element} was asked for {}, and answers {told}",
                asked.file.display()
            ));
        }
    }

    /// All that was not as it must be.
    pub fn faults(&mut self) -> Vec<String> {
        let Counts { rejected, warnings, .. } = self.counts;
        if rejected != warnings {
            self.fault(format!("{rejected} models were refused, and {warnings} warnings came"));
        }
        self.blame_silence();
        std::mem::take(&mut self.faults)
    }
}

impl fmt::Display for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            asked,
            reloaded,
            rejected,
            ..
        } = self.counts;
        let longest = self.longest.as_secs_f64();
        write!(
            f,
            "models: {asked} asked for, {reloaded} taken, {rejected} refused; {longest:.2} s from question to answer at most"
        )
    }
}
