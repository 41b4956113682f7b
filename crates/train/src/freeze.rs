//! Parameters that keep their initial values.

use inductive_models::Model;
use inductive_nn::ModuleExt;
use inductive_ops::Backend;

use crate::{Error, Result};

/// Names of parameters to leave as they are, where `*` stands for any text: `blocks.*.attn.qkv.*`.
///
/// torch equivalent: `requires_grad_(False)` on what the names match.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frozen<'a>(pub &'a [String]);

impl Frozen<'_> {
    /// Whether `name` is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }

    /// Refuses a pattern that no parameter of `model` has: it would freeze nothing.
    pub fn check<D: Backend<f32>>(&self, model: &dyn Model<f32, D>) -> Result<()> {
        let mut left: Vec<&String> = self.0.iter().collect();
        model.for_each_parameter(&mut |p| {
            left.retain(|pattern| !matches(pattern, p.name()));
            Ok(())
        })?;
        match left.first() {
            None => Ok(()),
            Some(pattern) => Err(Error::Recipe {
                field: "freeze",
                got: format!("{pattern:?}"),
                expected: format!(
                    "names of parameters of {}, with `*` for any text; `inductive inspect {0}` lists them",
                    model.spec().name
                ),
            }),
        }
    }
}

/// Whether `pattern`, in which `*` stands for any text, is `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_all_else_itself() {
        for (pattern, name, same) in [
            ("head.weight", "head.weight", true),
            ("head", "head.weight", false),
            ("*.attn.*", "blocks.0.attn.qkv.weight", true),
            ("blocks.*.attn", "blocks.0.attn.qkv", false),
            ("*", "anything", true),
            ("blocks.*.bias", "blocks.1.attn.bias.bias", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), same, "{pattern} {name}");
        }
    }
}
