//! What is kept beside the parameters of a model, each under the name of its parameter.

use std::collections::{BTreeMap, btree_map::Entry};

use inductive_nn::{Module, ModuleExt, Parameter, ParameterMut};
use inductive_ops::Backend;

use crate::{Error, Result};

/// A `T` for each parameter of a model, by the parameter's name. What is done with it needs a model of the same parameters, in any order.
#[derive(Debug)]
pub(crate) struct ByName<T> {
    /// What it is, for messages.
    of: &'static str,
    all: BTreeMap<String, Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    /// Numbers of the parameter.
    numel: usize,
    it: T,
}

impl<T> ByName<T> {
    /// What `make` makes of each parameter of `model`. of: what it is, for messages.
    ///
    /// # Errors
    /// [`Error::Parameters`] for two parameters of one name; those of `make`.
    pub fn new<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
        of: &'static str,
        model: &M,
        mut make: impl FnMut(&dyn Parameter<f32, D>) -> Result<T>,
    ) -> Result<Self> {
        let (mut all, mut twice) = (BTreeMap::new(), None);
        visit(model, |p| {
            match all.entry(p.name().to_owned()) {
                Entry::Vacant(place) => drop(place.insert(Kept { numel: p.numel(), it: make(p)? })),
                Entry::Occupied(there) => twice = Some(there.key().clone()),
            }
            Ok(())
        })?;
        match twice {
            None => Ok(Self { of, all }),
            Some(name) => {
                Err(refuse(of, format!("two parameters are called `{name}`; give each a name of its own")))
            }
        }
    }

    /// Refuses a model of other parameters.
    ///
    /// # Errors
    /// [`Error::Parameters`] with the first that is missing, unknown or of another size.
    pub fn check<D: Backend<f32>, M: Module<f32, D> + ?Sized>(&self, model: &M) -> Result<()> {
        let (mut problem, mut seen) = (None, Vec::with_capacity(self.all.len()));
        model.for_each_parameter(&mut |p| {
            let (name, numel) = (p.name(), p.numel());
            let new = match self.all.get(name) {
                None => Some(format!("it was made for a model without the parameter `{name}`")),
                Some(kept) if kept.numel != numel => {
                    Some(format!("it was made for {} numbers of `{name}`, which has {numel}", kept.numel))
                }
                Some(_) => None,
            };
            problem = problem.take().or(new);
            seen.push(name.to_owned());
            Ok(())
        })?;
        let missing = || {
            seen.sort_unstable();
            let lost = self.all.keys().find(|name| seen.binary_search(name).is_err())?;
            Some(format!("it was made for a model with the parameter `{lost}`, which this one has not"))
        };
        match problem.or_else(missing) {
            None => Ok(()),
            Some(problem) => Err(refuse(self.of, format!("{problem}; use the model that it was made for"))),
        }
    }

    /// Calls `with` for each parameter of `model` and what is kept of it.
    ///
    /// # Errors
    /// As [`ByName::check`], before the first call; those of `with`.
    pub fn each<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
        &mut self,
        model: &M,
        mut with: impl FnMut(&dyn Parameter<f32, D>, &mut T) -> Result<()>,
    ) -> Result<()> {
        self.check(model)?;
        visit(model, |p| match self.all.get_mut(p.name()) {
            Some(kept) => with(p, &mut kept.it),
            None => Ok(()),
        })
    }

    /// Calls `with` for each parameter of `model`, to be changed, and what is kept of it.
    ///
    /// # Errors
    /// As [`ByName::each`].
    pub fn change<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
        &self,
        model: &mut M,
        mut with: impl FnMut(&mut dyn ParameterMut<f32, D>, &T) -> Result<()>,
    ) -> Result<()> {
        self.check(model)?;
        visit_mut(model, |p| match self.all.get(p.name()) {
            Some(kept) => with(p, &kept.it),
            None => Ok(()),
        })
    }

    /// [`ByName::change`] of both.
    ///
    /// # Errors
    /// As [`ByName::each`].
    pub fn change_both<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
        &mut self,
        model: &mut M,
        mut with: impl FnMut(&mut dyn ParameterMut<f32, D>, &mut T) -> Result<()>,
    ) -> Result<()> {
        self.check(model)?;
        visit_mut(model, |p| match self.all.get_mut(p.name()) {
            Some(kept) => with(p, &mut kept.it),
            None => Ok(()),
        })
    }

    /// What is kept of the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.all.get(name).map(|kept| &kept.it)
    }

    /// All names, and what is kept of each, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.all.iter().map(|(name, kept)| (name.as_str(), &kept.it))
    }

    /// The same, to be changed, with the number of numbers that the parameter has.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, usize, &mut T)> {
        self.all.iter_mut().map(|(name, kept)| (name.as_str(), kept.numel, &mut kept.it))
    }

    /// Refuses names of which there is no parameter.
    ///
    /// # Errors
    /// [`Error::Parameters`] with the first.
    pub fn check_names<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<()> {
        match names.into_iter().find(|name| !self.all.contains_key(*name)) {
            None => Ok(()),
            Some(name) => Err(refuse(self.of, format!("the model has no parameter `{name}`"))),
        }
    }
}

/// Calls `with` for each parameter until it fails, with an error of this crate.
fn visit<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
    model: &M,
    mut with: impl FnMut(&dyn Parameter<f32, D>) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    model.for_each_parameter(&mut |p| {
        if done.is_ok() {
            done = with(p);
        }
        Ok(())
    })?;
    done
}

/// [`visit`], to change them.
fn visit_mut<D: Backend<f32>, M: Module<f32, D> + ?Sized>(
    model: &mut M,
    mut with: impl FnMut(&mut dyn ParameterMut<f32, D>) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    model.for_each_parameter_mut(&mut |p| {
        if done.is_ok() {
            done = with(p);
        }
        Ok(())
    })?;
    done
}

/// Refuses numbers that are not as many as the parameter `name` has.
///
/// # Errors
/// [`Error::Parameters`].
pub(crate) fn check_numel(of: &'static str, name: &str, numel: usize, values: &[f32]) -> Result<()> {
    if values.len() == numel {
        return Ok(());
    }
    Err(refuse(of, format!("there are {} numbers for `{name}`, which has {numel}", values.len())))
}

/// All parameters of a model, for tests.
#[cfg(test)]
pub(crate) fn values(
    model: &dyn inductive_models::Model<f32, dfdx::prelude::Cpu>,
) -> BTreeMap<String, Vec<f32>> {
    let all = ByName::new("values", model, |p| Ok(p.to_vec())).unwrap();
    all.iter().map(|(name, values)| (name.to_owned(), values.clone())).collect()
}

fn refuse(of: &'static str, problem: String) -> Error {
    Error::Parameters { of, problem }
}
