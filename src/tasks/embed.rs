//! Frames in, codes out.

use crate::exec::{Options, Session};
use crate::model::{Codes, InputSpec, Model};
use crate::pixels::{Frame, Image};
use crate::{Error, Result};

use super::input::{batch, extend, fit, fit_frame, normalize};
use super::tiles::pieces;

/// What gives the codes of frames, ready to run.
pub struct Embedder {
    session: Session,
    input: InputSpec,
    codes: Codes,
    network: String,
}

impl Embedder {
    /// Refuses a model that gives no codes.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        let coder = model.coder()?;
        let session = Session::new(&coder, options)?;
        Self::with_session(&coder, session)
    }

    /// The same of a [coder](Model::coder) on a session of its own, whose own weights are not looked at.
    pub fn with_session(coder: &Model, session: Session) -> Result<Self> {
        let codes = coder.codes().cloned();
        Ok(Self {
            session,
            input: coder.input.clone(),
            codes: codes.ok_or_else(|| Error::Invalid("this model is not a coder".into()))?,
            network: coder.training.data.clone(),
        })
    }

    /// How codes are made, and those that the model keeps of known pictures, if any.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// SHA-256 of the network: codes of others cannot be compared with this one's.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// What the network gives for a picture of any size and colour, to make its code of by [`Codes::code`]. An error when that is not finite.
    pub fn see(&mut self, image: &Image) -> Result<Vec<f32>> {
        self.see_fitted(fit(&self.input, image).0)
    }

    /// The same for the part `[x, y, width, height]` of a frame, which must lie inside.
    pub fn see_frame(&mut self, frame: &Frame, part: [usize; 4]) -> Result<Vec<f32>> {
        self.see_fitted(fit_frame(&self.input, frame, part).0)
    }

    fn see_fitted(&mut self, fitted: Image) -> Result<Vec<f32>> {
        let image = extend(&self.input, normalize(&self.input, fitted).0);
        let Some(size) = self.input.tile() else {
            return self.run(&image);
        };
        // Of large pictures the mean over the pieces, as a code is one over places.
        let mut sum: Vec<f32> = Vec::new();
        let mut count = 0.0;
        for piece in pieces(&image, size) {
            let seen = self.run(&piece)?;
            sum.resize(seen.len(), 0.0);
            sum.iter_mut().zip(seen).for_each(|(sum, x)| *sum += x);
            count += 1.0;
        }
        sum.iter_mut().for_each(|x| *x /= count);
        Ok(sum)
    }

    fn run(&mut self, image: &Image) -> Result<Vec<f32>> {
        let output = self.session.run(&[batch(&[image])])?.swap_remove(0);
        super::require_finite(&output.data)?;
        Ok(output.data)
    }
}
