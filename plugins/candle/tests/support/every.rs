//! Every element of the project, each in a launch line that makes it work.

use tempfile::{NamedTempFile, TempDir};

use super::{bands, brightness, halving, init, light};

/// Launch lines without source and sink, and the files they name, which live as long as this.
pub struct Every {
    pub denoise: String,
    pub anomaly: String,
    pub classify: String,
    pub segment: String,
    pub embed: String,
    pub overlay: String,
    pub publish: String,
    _models: [NamedTempFile; 4],
    _folder: TempDir,
}

impl Every {
    /// Starts GStreamer with both plugins. The elements with a model have the name `it` plus their kind, watch their model and run on
    /// two threads.
    pub fn new() -> Self {
        init();
        gstcandlepublish::plugin_register_static().unwrap();
        let models = [halving(), brightness(None), light(), bands()];
        let folder = tempfile::tempdir().unwrap();
        let with_model = |kind: &str, model: &NamedTempFile| {
            let model = model.path().display();
            format!("candle{kind} name={kind} model-file={model} watch-model=true threads=2")
        };
        Self {
            denoise: with_model("denoise", &models[0]),
            anomaly: with_model("anomaly", &models[1]),
            classify: with_model("classify", &models[2]),
            segment: with_model("segment", &models[3]),
            embed: with_model("embed", &models[2]),
            overlay: "candleoverlay".into(),
            publish: format!(
                "candlepublish post-messages=all location={}",
                folder.path().join("events.jsonl").display()
            ),
            _models: models,
            _folder: folder,
        }
    }

    /// One after the other, as a user's pipeline has them.
    pub fn all(&self) -> String {
        let each = [
            &self.denoise,
            &self.anomaly,
            &self.classify,
            &self.segment,
            &self.embed,
            &self.overlay,
            &self.publish,
        ];
        each.map(String::as_str).join(" ! ")
    }
}
