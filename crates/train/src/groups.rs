//! Which parameters weight decay shrinks.

/// Whether weight decay applies to the parameter `name` of this shape: timm's groups.
///
/// Not to parameters of one dimension (norms, `gating_param`, `pos_proj.bias`), to biases, and to `pos_embed` and
/// `cls_token` (the models' `no_weight_decay`); to everything else, ConViT's `pos_proj.weight [heads, 3]` included. A layer
/// that leaves convolution follows the same rule: not its `gate`, but its `pos_proj.weight`. Decay multiplies the three
/// numbers of a head, `alpha (2 dx, 2 dy, -1)`, alike, so it lowers alpha and leaves the offset where it is.
///
/// Facebook's distributed runs decayed `pos_embed` and `cls_token` too, because their optimizer did not see the model
/// behind its wrapper (main.py of facebookresearch/convit); timm's rule, which the code intends, is used here.
///
/// timm equivalent: `param_groups_weight_decay(model, weight_decay, model.no_weight_decay())`.
pub fn decays(name: &str, shape: &[usize]) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    shape.len() > 1 && !matches!(last, "bias" | "pos_embed" | "cls_token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::*;
    use inductive_models::{BuildOptions, build};
    use inductive_nn::ModuleExt;

    #[test]
    fn convit_decays_matrices_and_pos_proj_and_nothing_else() {
        let options = BuildOptions { classes: 10, ..Default::default() };
        let model = build(&Cpu::seed_from_u64(0), "convit_micro", &options).unwrap().model;
        let (mut decayed, mut kept) = (Vec::new(), Vec::new());
        model
            .for_each_parameter(&mut |p| {
                let list = if decays(p.name(), p.shape()) { &mut decayed } else { &mut kept };
                list.push(p.name().to_owned());
                Ok(())
            })
            .unwrap();
        let gated = ["attn.qk", "attn.v", "attn.proj", "attn.pos_proj", "mlp.fc1", "mlp.fc2"];
        let plain = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"];
        let mut expected: Vec<String> =
            (0..3).flat_map(|block| gated.map(|layer| format!("blocks.{block}.{layer}.weight"))).collect();
        expected.extend(plain.map(|layer| format!("blocks.3.{layer}.weight")));
        expected.extend(["head.weight", "patch_embed.proj.weight"].map(str::to_owned));
        expected.sort();
        decayed.sort();
        assert_eq!(decayed, expected);
        for name in [
            "pos_embed",
            "cls_token",
            "blocks.0.attn.gating_param",
            "blocks.0.attn.pos_proj.bias",
            "norm.weight",
        ] {
            assert!(kept.iter().any(|k| k == name), "{name} is missing in {kept:?}");
        }
    }

    #[test]
    fn a_bias_stored_with_more_dimensions_is_still_a_bias() {
        assert!(!decays("blocks.0.attn.qkv.bias", &[3, 96]));
        assert!(decays("bias.weight", &[3, 96]));
    }
}
