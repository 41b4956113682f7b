//! `inductive recipe`: a recipe of a model with every field, and the reference of all fields. Both are made from the types of
//! `train`: their comments, their values, their defaults.

mod commented;
mod fields;
mod reference;

use crate::{args, commands::Done, error::Result, output::say};

pub use fields::names;

pub fn run(args: args::Recipe) -> Result<Done> {
    say(if args.reference { reference::markdown() } else { commented::recipe(&args.model)? })?;
    Ok(Done::Complete)
}
