//! `gst-candle suggest`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::codes::made;
use super::common::{Frames, Machine, check_json, describe, print, write_json};
use super::copies;
use crate::data::layout::{Dataset, Split};
use crate::exec::Options;
use crate::model::{Model, Task};
use crate::score::codes::most_telling;
use crate::tasks::{Classifier, Embedder};

/// Which pictures to label next
///
/// Of many pictures without labels it names those that would teach the model most: which it is not sure of, and which look like none that it
/// knows and like none named before them. Label them, put them to the others, and train again. A classifier says how sure it is;
/// of an anomaly detector codes alone decide. Each line is a picture, the most telling first.
///
/// Examples:
///   gst-candle suggest parts.safetensors unlabelled/ -n 40
///   gst-candle suggest parts.safetensors belt.mp4 -n 40 --every 10 --copy to-label/
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Folders of pictures, video files or URIs; of a data set with splits, train/
    #[arg(required = true, value_name = "DATA")]
    data: Vec<String>,
    /// How many
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: u32,
    /// Write them as a JSON list, of each picture source, label, uncertainty (0 to 1) and distance from what was known; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Copy them into this new folder
    #[arg(long, value_name = "DIR")]
    copy: Option<PathBuf>,
    #[command(flatten)]
    frames: Frames,
    #[command(flatten)]
    machine: Machine,
}

/// What a model says of a picture whose label it is asked about.
struct Guess {
    label: Option<String>,
    /// 1 less what lies between the two largest probabilities; 1 where there are none, and of what is unknown to the model.
    uncertainty: f32,
}

/// Chooses and prints.
pub fn main(args: &Args) -> Result<()> {
    check_json(args.json.as_ref(), [args.model.as_path()])?;
    let model = Model::load(&args.model)?;
    if let Some(folder) = &args.copy {
        copies::check_new(folder)?;
    }
    let options = args.machine.options()?;
    let name = || args.model.display().to_string();
    let mut embedder = Embedder::new(&model, &options).with_context(name)?;
    let data = Dataset::open(&args.data, Split::Train, args.frames.limits())?;
    if data.samples.is_empty() {
        bail!("{}: no pictures found", args.data[0]);
    }
    let (seen, guesses) = look(&model, &mut embedder, &data, &options).with_context(name)?;
    let codes = made(&embedder, &seen);
    let rows: Vec<&[f32]> = codes.rows().collect();
    let known: Vec<&[f32]> = embedder.codes().rows().collect();
    let uncertainty: Vec<f32> = guesses.iter().map(|guess| guess.uncertainty).collect();
    let chosen = most_telling(&rows, &known, &uncertainty, args.number as usize);
    if chosen.len() < args.number as usize {
        eprintln!("there are {} different pictures, not {}", chosen.len(), args.number);
    }
    let order: Vec<usize> = chosen.iter().map(|(i, _)| *i).collect();
    if let Some(folder) = &args.copy {
        copies::copy(&data, &order, folder)?;
        eprintln!("{}: {} pictures", folder.display(), order.len());
    }
    if let Some(target) = &args.json {
        let line = |&(i, distance): &(usize, f32)| {
            json!({
                "source": describe(&data.samples[i].source), "label": guesses[i].label, "uncertainty": guesses[i].uncertainty,
                "distance": distance.is_finite().then_some(distance),
            })
        };
        let all: Vec<Value> = chosen.iter().map(line).collect();
        write_json(target, &all)?;
    }
    match &args.json {
        Some(target) if target == Path::new("-") => Ok(()),
        _ => {
            let lines = order.iter().map(|&i| describe(&data.samples[i].source) + "\n");
            print(&lines.collect::<String>())
        }
    }
}

/// What the network gives for each picture to make its code of, and what the model takes it for.
fn look(
    model: &Model,
    embedder: &mut Embedder,
    data: &Dataset,
    options: &Options,
) -> Result<(Vec<Vec<f32>>, Vec<Guess>)> {
    let mut classifier = match model.task {
        Task::Classify => Some(Classifier::new(model, options)?),
        _ => None,
    };
    let (mut seen, mut guesses) = (Vec::new(), Vec::new());
    for sample in &data.samples {
        let image = data.read(sample)?;
        seen.push(embedder.see(&image)?);
        guesses.push(match &mut classifier {
            Some(classifier) => {
                let named = classifier.classify(&[image])?.swap_remove(0);
                let guess = guess(classifier.labels(), &named.probabilities);
                match classifier.strangeness(&named) > 1.0 {
                    true => Guess {
                        uncertainty: 1.0,
                        ..guess
                    },
                    false => guess,
                }
            }
            None => Guess {
                label: None,
                uncertainty: 1.0,
            },
        });
    }
    Ok((seen, guesses))
}

fn guess(labels: &[String], probabilities: &[f32]) -> Guess {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let probability = |place: usize| order.get(place).map_or(0.0, |&i| probabilities[i]);
    Guess {
        label: order.first().and_then(|&i| labels.get(i).cloned()),
        uncertainty: 1.0 - (probability(0) - probability(1)),
    }
}
