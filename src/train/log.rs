//! A run's figures as CSV.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const HEADER: &str = "step,loss,learning_rate,images_per_s,metric,value";

/// One row of `train.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row<'a> {
    /// Steps done.
    pub step: u64,
    /// Mean loss of the last steps; left out when there is none (NaN).
    pub loss: f64,
    /// Learning rate of the last step.
    pub rate: f64,
    /// Training pictures a second; 0 beside a validation figure.
    pub images_per_s: f64,
    /// A validation figure, on rows that have one.
    pub metric: Option<(&'a str, f64)>,
}

/// Writes `train.csv` in a folder.
pub struct CsvLog {
    path: PathBuf,
    file: File,
}

impl CsvLog {
    /// Opens `FOLDER/train.csv`. A run that goes on after `step` steps keeps the rows up to there; a new one (0) begins anew.
    pub fn open(folder: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join("train.csv");
        let mut text = format!("{HEADER}\n");
        if step > 0
            && let Ok(old) = std::fs::read_to_string(&path)
        {
            let keep = |line: &&str| {
                line.split(',')
                    .next()
                    .and_then(|s| s.parse().ok())
                    .is_some_and(|s: u64| s <= step)
            };
            for line in old.lines().skip(1).filter(keep) {
                text.push_str(line);
                text.push('\n');
            }
        }
        let write = || -> std::io::Result<File> {
            let mut file = File::create(&path)?;
            file.write_all(text.as_bytes())?;
            Ok(file)
        };
        let file = write().map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, file })
    }

    /// Adds a row.
    pub fn write(&mut self, row: &Row<'_>) -> Result<()> {
        let (metric, value) = row.metric.map_or((String::new(), String::new()), |(m, v)| {
            (m.to_owned(), format!("{v:.6}"))
        });
        let loss = if row.loss.is_nan() {
            String::new()
        } else {
            format!("{:.6}", row.loss)
        };
        let Row {
            step,
            rate,
            images_per_s,
            ..
        } = row;
        writeln!(self.file, "{step},{loss},{rate:.6e},{images_per_s:.2},{metric},{value}")
            .map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_cuts_what_it_repeats() {
        let folder = tempfile::tempdir().unwrap();
        let row = |step| Row {
            step,
            loss: 0.5,
            rate: 1e-3,
            images_per_s: 3.0,
            metric: Some(("val_psnr", 30.0)),
        };
        let mut log = CsvLog::open(folder.path(), 0).unwrap();
        [10, 20, 30].into_iter().for_each(|step| log.write(&row(step)).unwrap());
        let mut log = CsvLog::open(folder.path(), 20).unwrap();
        log.write(&row(30)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("train.csv")).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "10,0.500000,1.000000e-3,3.00,val_psnr,30.000000"
        );
        CsvLog::open(folder.path(), 0).unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("train.csv"))
                .unwrap()
                .lines()
                .count(),
            1
        );
    }
}
