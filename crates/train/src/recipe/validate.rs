//! What a recipe may ask for.

use inductive_data::DataSpec;
use inductive_files::did_you_mean;
use inductive_models::ModelSpec;
use inductive_schedule::Duration;

use super::{CLOCKS, Init, Named, Recipe};
use crate::{Error, Result};

/// More images per update than any published recipe uses, and few enough to count in any integer.
const MAX_BATCH: usize = 1 << 20;

fn refuse(field: &'static str, got: impl ToString, expected: impl Into<String>) -> Result<()> {
    Err(Error::Recipe { field, got: got.to_string(), expected: expected.into() })
}

fn check(field: &'static str, got: f64, ok: bool, expected: &str) -> Result<()> {
    if ok { Ok(()) } else { refuse(field, got, expected) }
}

/// Refuses a name that does not exist.
fn known<T: Named>(field: &'static str, init: Option<&Init<T>>) -> Result<()> {
    match init.filter(|init| !init.exists()) {
        Some(init) => {
            let names: Vec<_> = T::NAMES.iter().map(|it| (*it).to_owned()).chain(T::added()).collect();
            let meant = did_you_mean(&init.to_string(), names.iter().map(String::as_str));
            refuse(field, init, format!("one of {}{meant}", names.join(", ")))
        }
        None => Ok(()),
    }
}

impl Recipe {
    /// Refuses what is out of its range, with the field's name and range. Needs no data; that data and model fit together
    /// is checked when they meet.
    ///
    /// # Errors
    /// [`Error::Recipe`]; [`Error::Model`] for a model that does not exist, or an option that it cannot have; [`Error::Data`]
    /// for a data string that names no source.
    pub fn validate(&self) -> Result<()> {
        let model = self.model_spec()?;
        self.revision(false)?;
        self.validate_for(&model)
    }

    /// [`Recipe::validate`] for a model of this spec, but for the data.
    pub(crate) fn validate_for(&self, model: &ModelSpec) -> Result<()> {
        let strength = self.locality_strength;
        check(
            "locality_strength",
            strength,
            strength.is_finite() && strength > 0.0,
            "a finite number above 0",
        )?;
        if let Some(share) = self.content_share {
            check("content_share", share, (0.0..=1.0).contains(&share), "a share, 0 to 1")?;
            if !matches!(model.family, inductive_models::Family::SimpleVit(_)) {
                return refuse(
                    "content_share",
                    share,
                    "to be left out: only `simple_vit_*` mix positions into queries",
                );
            }
        }
        known("init", self.init.as_ref())?;
        known("filters", self.filters.as_ref())?;
        if let (Some(weights), Some(field)) = (&self.weights, self.designs()) {
            return refuse(
                "weights",
                weights,
                format!("to be left out: it would replace what `{field}` asks for"),
            );
        }
        if let Some(switch) = &self.switch {
            switch.validate(model)?;
        }
        if !(1..=MAX_BATCH).contains(&self.batch_size) {
            return refuse("batch_size", self.batch_size, format!("1 to {MAX_BATCH} images"));
        }
        self.validate_lengths()?;
        self.validate_rates()?;
        self.validate_regularisation()
    }

    /// The field that asks for initial weights, if one does.
    fn designs(&self) -> Option<&'static str> {
        let init = self.init.as_ref().map(|_| "init");
        init.or(self.filters.as_ref().map(|_| "filters"))
    }

    /// The drawing of the data, which `data_revision` must not contradict. own_data: whether their name need not be known.
    pub(super) fn revision(&self, own_data: bool) -> Result<Option<u32>> {
        let ours = match self.data.parse::<DataSpec>() {
            Err(_) if own_data => None,
            spec => spec?.source().revision(),
        };
        let refused = match (self.data_revision, ours) {
            (None, _) => return Ok(ours),
            (given, ours) if given == ours => return Ok(ours),
            (Some(given), Some(ours)) => refuse(
                "data_revision",
                given,
                format!("{ours}: `{}` has other images since; leave it out for those", self.data),
            ),
            (Some(given), None) => {
                refuse("data_revision", given, "to be left out: only embedded sets have one")
            }
        };
        refused.map(|()| ours)
    }

    fn validate_lengths(&self) -> Result<()> {
        let length = |field, length: Duration, zero_is_fine: bool| {
            let amount = match length {
                Duration::Steps(n) | Duration::Examples(n) => n as f64,
                Duration::Epochs(x) | Duration::Percent(x) => x,
                _ => f64::NAN,
            };
            let ok = amount.is_finite() && (amount > 0.0 || zero_is_fine && amount == 0.0);
            let expected = if zero_is_fine { "0 epochs or more" } else { "more than 0 epochs" };
            if ok { Ok(()) } else { refuse(field, length, expected) }
        };
        length("epochs", self.epochs, false)?;
        if matches!(self.epochs, Duration::Percent(_)) {
            return refuse(
                "epochs",
                self.epochs,
                "epochs, steps or examples: percent of itself has no meaning",
            );
        }
        length("eval_every", self.eval_every, false)?;
        length("warmup_epochs", self.warmup_epochs, true)
    }

    fn validate_rates(&self) -> Result<()> {
        if self.lr.is_some() && self.lr_base.is_some() {
            return refuse("lr_base", self.lr_base.unwrap_or_default(), "to be left out when `lr` is given");
        }
        let rate = |field, rate: f64| {
            check(field, rate, rate.is_finite() && rate >= 0.0, "a finite rate, 0 or more")
        };
        self.lr.map_or(Ok(()), |lr| rate("lr", lr))?;
        self.lr_base.map_or(Ok(()), |lr| rate("lr_base", lr))?;
        rate("warmup_lr", self.warmup_lr)?;
        rate("min_lr", self.min_lr)?;
        match CLOCKS.iter().any(|(_, clock)| *clock == self.clock) {
            true => Ok(()),
            false => refuse(
                "clock",
                format!("{:?}", self.clock).to_lowercase(),
                "epoch, whole-epoch or whole-epoch-one-behind",
            ),
        }
    }

    fn validate_regularisation(&self) -> Result<()> {
        let below_one = |x: f64| (0.0..1.0).contains(&x);
        let share = "0 or more, and less than 1";
        let decay = self.weight_decay;
        check("weight_decay", decay, decay.is_finite() && decay >= 0.0, "a finite number, 0 or more")?;
        check("betas", self.betas.0, below_one(self.betas.0), share)?;
        check("betas", self.betas.1, below_one(self.betas.1), share)?;
        check("eps", self.eps, self.eps.is_finite() && self.eps > 0.0, "a finite number above 0")?;
        if let Some(norm) = self.clip_grad {
            check(
                "clip_grad",
                norm,
                norm.is_finite() && norm > 0.0,
                "a finite norm above 0; leave it out for none",
            )?;
        }
        check("label_smoothing", self.label_smoothing, below_one(self.label_smoothing), share)?;
        check("drop_path", self.drop_path, below_one(self.drop_path), share)?;
        if let Some(ema) = self.ema {
            check("ema.decay", ema.decay, below_one(ema.decay), share)?;
        }
        let flip = self.augment.flip;
        check("augment.flip", flip, (0.0..=1.0).contains(&flip), "a probability, 0 to 1")
    }
}
