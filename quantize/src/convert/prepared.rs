//! What a conversion needs beside the model, read and checked before anything takes long.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{CalibrationText, Options, Stage, Summary};
use crate::calibrate::Texts;
use crate::input::Input;
use crate::{gate, target};

/// A conversion that only lacks its model. Best made before that is downloaded.
pub struct Prepared<'a> {
    pub(super) out: &'a Path,
    pub(super) options: &'a Options,
    pub(super) gate: Option<gate::Opened<'a>>,
    /// What to calibrate with.
    pub(super) texts: Option<Texts>,
}

impl<'a> Prepared<'a> {
    /// Sees whether `out` can be written, and reads the files that `options` name.
    ///
    /// # Errors
    /// If `out` cannot be written or is one of those files, or one of them cannot be read or used.
    pub fn new(out: &'a Path, options: &'a Options) -> anyhow::Result<Self> {
        target::check_inputs(out, options.inputs())?;
        target::check(out)?;
        let gate = options.gate.as_ref().map(gate::Opened::new).transpose()?;
        let texts = match &options.calibration {
            CalibrationText::Own => Some(Texts::own()),
            CalibrationText::File(path) => Some(Texts::read(path)?),
            CalibrationText::None => None,
        };
        Ok(Self { out, options, gate, texts })
    }

    /// Converts `input`; `stage` as for [`convert`](super::convert).
    ///
    /// # Errors
    /// As [`convert`](super::convert).
    pub fn convert(&self, input: &Input, stage: impl FnMut(Stage, usize, usize) + Send) -> anyhow::Result<Summary> {
        let stage = Mutex::new(stage);
        super::run(input, self, &|at, done, all| {
            (stage.lock().unwrap_or_else(PoisonError::into_inner))(at, done, all);
        })
    }
}
