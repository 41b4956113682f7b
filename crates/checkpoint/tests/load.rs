//! Loading: strict leaves the model alone, partial takes what fits, and what can be adapted is.

mod common;

use common::{Toy, Wrapped, bits, file, saved, toy};
use dfdx::prelude::Cpu;
use inductive_checkpoint::{
    Adaptation, Error, LoadOptions, LoadReport, TensorFile, TensorWriter, load_tensors,
};

/// A file of the model with one thing changed for each kind of mismatch.
fn misfit() -> TensorFile {
    file(|w| {
        w.add("blocks.0.attn.qk.weight", &[8, 4], &[0.0_f32; 32]).unwrap();
        w.add("bn.running_mean", &[4], &[0_u64; 4]).unwrap();
        w.add("bn.num_batches_tracked", &[], &[0_u64]).unwrap();
        w.add("head.weight", &[1000, 4], &[0.0_f32; 4000]).unwrap();
        w.add("head.bias", &[3], &[9.0_f32; 3]).unwrap();
        w.add("pos_embed", &[1, 9, 2], &[0.5_f32; 18]).unwrap();
        w.add("dist_token\u{7}", &[1], &[0.0_f32]).unwrap();
    })
}

type Toy16 = Toy<16, 3, f32, Cpu>;

fn refusal(error: Error) -> LoadReport {
    match error {
        Error::Mismatch(report) => *report,
        other => panic!("expected a mismatch, got {other}"),
    }
}

#[test]
fn strict_refusal_changes_no_bit_and_reports_everything() {
    let mut model = toy::<16, 3>(1);
    let before = bits(&model);
    let error = load_tensors(&mut model, &misfit(), &LoadOptions::new()).unwrap_err();
    assert_eq!(bits(&model), before);
    insta::assert_snapshot!(error.to_string(), @r"
    toy.safetensors: does not fit the model, nothing was loaded (2 of 5 parameters fit)
      could be adapted (1):
        pos_embed: resampled from 3 x 3 to 4 x 4
      missing in the file (1):
        blocks.0.attn.qkv.weight (did you mean blocks.0.attn.qk.weight?)
      unused, not in the model (2):
        blocks.0.attn.qk.weight (did you mean blocks.0.attn.qkv.weight?)
        dist_token\u{7}
      wrong shape (1):
        head.weight: expected [3, 4], got [1000, 4]; the file is for another number of classes; a model that trains on from it (`weights` in a recipe) gets a new head
      wrong type (1):
        bn.running_mean: expected a float (F16, BF16, F32 or F64), got U64
      left out (1):
        bn.num_batches_tracked
    ");
    let report = refusal(error);
    assert!(report.refused && !report.is_complete());
    assert_eq!(report.missing[0].nearest.as_deref(), Some("blocks.0.attn.qk.weight"));
    assert_eq!(report.unused[0].nearest.as_deref(), Some("blocks.0.attn.qkv.weight"));
}

#[test]
fn any_single_mismatch_refuses_everything() {
    let source = toy::<16, 3>(9);
    let rest = |w: &mut TensorWriter, skip: &str| {
        for (name, shape, values) in bits(&source).into_iter().filter(|p| p.0 != skip) {
            let values: Vec<f32> = values.into_iter().map(f32::from_bits).collect();
            w.add(&name, &shape, &values).unwrap();
        }
    };
    let nothing = |_: &mut TensorWriter| ();
    let one_more = |w: &mut TensorWriter| {
        w.add("extra", &[1], &[0.0_f32]).unwrap();
    };
    let other_shape = |w: &mut TensorWriter| {
        w.add("head.bias", &[1, 3], &[0.0_f32; 3]).unwrap();
    };
    let other_type = |w: &mut TensorWriter| {
        w.add("head.bias", &[3], &[0_u64; 3]).unwrap();
    };
    type Case = (&'static str, fn(&mut TensorWriter));
    let cases: [Case; 4] =
        [("head.bias", nothing), ("", one_more), ("head.bias", other_shape), ("head.bias", other_type)];
    for (case, (skip, change)) in cases.into_iter().enumerate() {
        let file = file(|w| {
            rest(w, skip);
            change(w);
        });
        let mut model = toy::<16, 3>(1);
        let before = bits(&model);
        refusal(load_tensors(&mut model, &file, &LoadOptions::new()).unwrap_err());
        assert_eq!(bits(&model), before, "case {case}");
    }
}

#[test]
fn what_is_optional_may_be_missing_and_nothing_else() {
    let source = toy::<16, 3>(9);
    let without = |skip: &str| {
        file(|w| {
            for (name, shape, values) in bits(&source).into_iter().filter(|p| p.0 != skip) {
                w.add(&name, &shape, &values.into_iter().map(f32::from_bits).collect::<Vec<_>>()).unwrap();
            }
        })
    };
    let (mut model, options) = (toy::<16, 3>(1), LoadOptions::new().optional(["bn.running_mean".to_owned()]));
    let before = bits(&model);
    let report = load_tensors(&mut model, &without("bn.running_mean"), &options).unwrap();
    assert!(
        report.is_complete() && report.kept == ["bn.running_mean"] && report.applied.len() == 4,
        "{report}"
    );
    let of = |all: &[(String, Vec<usize>, Vec<u32>)], name: &str| all.iter().find(|it| it.0 == name).cloned();
    let after = bits(&model);
    assert_eq!(of(&after, "bn.running_mean"), of(&before, "bn.running_mean"));
    assert_eq!(of(&after, "head.bias"), of(&bits(&source), "head.bias"));
    assert!(report.to_string().contains("without effect as yet (1): bn.running_mean"), "{report}");
    // What the file has is taken.
    assert!(load_tensors(&mut model, &without(""), &options).unwrap().kept.is_empty());
    let report = refusal(load_tensors(&mut model, &without("head.bias"), &options).unwrap_err());
    assert!(report.missing.len() == 1 && report.kept.is_empty(), "{report}");
}

#[test]
fn partial_applies_what_fits_and_leaves_the_rest() {
    let mut model = toy::<16, 3>(1);
    let before = bits(&model);
    let report = load_tensors(&mut model, &misfit(), &LoadOptions::new().partial()).unwrap();
    assert_eq!(report.applied, ["head.bias"]);
    assert_eq!(model.head.bias.as_vec(), [9.0; 3]);
    assert!(model.pos_embed.as_vec().iter().all(|v| (v - 0.5).abs() < 1e-6));
    let after = bits(&model);
    for name in ["blocks.0.attn.qkv.weight", "bn.running_mean", "head.weight"] {
        let of = |all: &[(String, _, Vec<u32>)]| all.iter().find(|p| p.0 == name).map(|p| p.2.clone());
        assert_eq!(of(&after), of(&before), "{name}");
    }
    insta::assert_snapshot!(report.to_string().lines().next().unwrap(), @"toy.safetensors: loaded 2 of 5 parameters");
}

#[test]
fn a_replaced_head_keeps_weight_and_bias_of_the_model() {
    let source = toy::<16, 5>(9);
    let file = saved("", &source);
    let mut model = toy::<16, 3>(1);
    let head = (model.head.weight.as_vec(), model.head.bias.as_vec());
    let report = refusal(load_tensors(&mut model, &file, &LoadOptions::new()).unwrap_err());
    assert_eq!(report.wrong_shape.len(), 2);
    assert!(report.wrong_shape[0].help.as_ref().unwrap().contains("number of classes"));

    let report = load_tensors(&mut model, &file, &LoadOptions::new().replace_head()).unwrap();
    assert_eq!((model.head.weight.as_vec(), model.head.bias.as_vec()), head);
    assert_eq!(model.mean.0.as_vec(), source.mean.0.as_vec());
    let kept = Adaptation::HeadKept { file: Some(vec![5, 4]), model: vec![3, 4] };
    assert!(report.adapted.len() == 2 && report.adapted[0].how == kept, "{report}");
}

#[test]
fn replacing_loads_a_head_of_equal_classes_and_accepts_a_file_without_one() {
    let source = toy::<16, 3>(9);
    let options = LoadOptions::new().replace_head();
    let mut model = toy::<16, 3>(1);
    load_tensors(&mut model, &saved("", &source), &options).unwrap();
    assert_eq!(bits(&model), bits(&source));

    let headless = file(|w| {
        for (name, shape, values) in bits(&source).into_iter().filter(|p| !p.0.starts_with("head")) {
            w.add(&name, &shape, &values.into_iter().map(f32::from_bits).collect::<Vec<_>>()).unwrap();
        }
    });
    let mut model = toy::<16, 3>(1);
    refusal(load_tensors(&mut model, &headless, &LoadOptions::new()).unwrap_err());
    let report = load_tensors(&mut model, &headless, &options).unwrap();
    assert!(matches!(&report.adapted[0].how, Adaptation::HeadKept { file: None, .. }));
    assert_eq!(model.qkv.as_vec()[0], source.qkv.as_vec()[0]);
}

#[test]
fn pos_embed_of_another_grid_is_resampled_unless_forbidden() {
    let source = toy::<10, 3>(9);
    let file = saved("", &source);
    let mut model = toy::<17, 3>(1);
    let report = load_tensors(&mut model, &file, &LoadOptions::new()).unwrap();
    let how = Adaptation::Resampled { from: (3, 3), to: (4, 4), prefix: 1 };
    assert!(report.is_complete() && report.adapted[0].how == how, "{report}");
    assert_eq!(model.pos_embed.as_vec()[..2], source.pos_embed.as_vec()[..2]);

    let mut model = toy::<17, 3>(1);
    let before = bits(&model);
    let outcome = load_tensors(&mut model, &file, &LoadOptions::new().resample(false));
    let report = refusal(outcome.unwrap_err());
    assert!(report.to_string().contains("another grid"), "{report}");
    assert_eq!(bits(&model), before);
}

#[test]
fn pos_embed_without_a_square_grid_asks_for_the_grid() {
    let source = toy::<16, 3>(9);
    let file = saved("", &source);
    let mut model = toy::<6, 3>(1);
    let report = refusal(load_tensors(&mut model, &file, &LoadOptions::new()).unwrap_err());
    assert!(report.wrong_shape[0].help.as_ref().unwrap().contains("give its rows and columns"));
    let report = load_tensors(&mut model, &file, &LoadOptions::new().grid(2, 3)).unwrap();
    assert_eq!(report.adapted[0].how, Adaptation::Resampled { from: (4, 4), to: (2, 3), prefix: 0 });
}

#[test]
fn wrapper_prefixes_are_taken_off() {
    let source = toy::<16, 3>(9);
    for prefix in ["model.", "module.", "state_dict.", "state_dict.model.", "model.module._orig_mod."] {
        let file = saved(prefix, &source);
        let mut model = toy::<16, 3>(1);
        let report = load_tensors(&mut model, &file, &LoadOptions::new()).unwrap();
        assert_eq!((bits(&model), report.stripped.as_str()), (bits(&source), prefix));
    }
}

/// A training checkpoint as it is: the model in two versions, an optimizer, a counter.
fn training_checkpoint(prefix: &str, model: &Toy16, average: &Toy16) -> TensorFile {
    file(|w| {
        w.add_model(&format!("{prefix}model_ema."), average).unwrap();
        w.add_model(&format!("{prefix}model."), model).unwrap();
        w.add(&format!("{prefix}optimizer.state.0.exp_avg"), &[2], &[0.0_f32; 2]).unwrap();
        w.add(&format!("{prefix}epoch"), &[], &[1_u64]).unwrap();
    })
}

#[test]
fn the_model_in_a_training_checkpoint_is_found_and_the_rest_named() {
    let (source, average) = (toy::<16, 3>(9), toy::<16, 3>(8));
    for prefix in ["", "state_dict."] {
        let file = training_checkpoint(prefix, &source, &average);
        let mut model = toy::<16, 3>(1);
        let report = load_tensors(&mut model, &file, &LoadOptions::new()).unwrap();
        assert_eq!((bits(&model), report.stripped.as_str()), (bits(&source), &*format!("{prefix}model.")));
        assert_eq!((report.applied.len(), report.unused.len(), report.ignored.len()), (5, 0, 7), "{report}");
        for name in ["epoch", "model_ema.head.bias", "optimizer.state.0.exp_avg"] {
            assert!(report.ignored.contains(&format!("{prefix}{name}")), "{report}");
        }
    }
}

#[test]
fn what_the_model_of_a_training_checkpoint_lacks_is_not_taken_from_elsewhere() {
    let average = toy::<16, 3>(8);
    let file = file(|w| {
        w.add_model("model_ema.", &average).unwrap();
        w.add("model.head.bias", &[3], &[0.0_f32; 3]).unwrap();
        w.add("model.head.scale", &[3], &[0.0_f32; 3]).unwrap();
        w.add("head.bias.epoch", &[], &[1_u64]).unwrap();
    });
    let mut model = toy::<16, 3>(1);
    let before = bits(&model);
    let report = refusal(load_tensors(&mut model, &file, &LoadOptions::new()).unwrap_err());
    assert_eq!((report.missing.len(), report.unused.len(), report.ignored.len()), (4, 1, 6), "{report}");
    assert_eq!(bits(&model), before);
}

#[test]
fn without_the_model_among_them_no_part_of_a_checkpoint_is_taken() {
    let average = toy::<16, 3>(8);
    let file = file(|w| {
        w.add_model("model_ema.", &average).unwrap().add("model.epoch", &[], &[1_u64]).unwrap();
    });
    let mut model = toy::<16, 3>(1);
    let report = refusal(load_tensors(&mut model, &file, &LoadOptions::new()).unwrap_err());
    assert_eq!((report.missing.len(), report.unused.len(), report.stripped.as_str()), (5, 6, ""), "{report}");
}

#[test]
fn a_model_with_a_field_called_model_keeps_its_names() {
    let (source, other) = (Wrapped { model: toy::<1, 3>(9).head }, toy::<1, 3>(1).head);
    for prefix in ["", "model.", "state_dict."] {
        let mut model = Wrapped { model: other.clone() };
        let report = load_tensors(&mut model, &saved(prefix, &source), &LoadOptions::new()).unwrap();
        assert_eq!((bits(&model), report.stripped.as_str()), (bits(&source), prefix));
    }
}

#[test]
fn weight_and_bias_of_a_head_are_replaced_together() {
    let file = file(|w| {
        w.add("model.weight", &[5, 4], &[1.0_f32; 20])
            .unwrap()
            .add("model.bias", &[3], &[1.0_f32; 3])
            .unwrap();
    });
    // The same two tensors under a name that is no classifier's, and under one that is.
    let mut model = Wrapped { model: toy::<1, 3>(1).head };
    let report = refusal(load_tensors(&mut model, &file, &LoadOptions::new().replace_head()).unwrap_err());
    assert_eq!(report.wrong_shape.len(), 1);
    let misfit = misfit();
    let mut model = toy::<16, 3>(1);
    let bias = model.head.bias.as_vec();
    let report = load_tensors(&mut model, &misfit, &LoadOptions::new().partial().replace_head()).unwrap();
    assert_eq!(model.head.bias.as_vec(), bias);
    assert_eq!(report.adapted.len(), 3, "{report}");
}

#[test]
fn a_file_without_tensors_is_refused() {
    let mut model = toy::<16, 3>(1);
    for section in ["", "ema/"] {
        let options = LoadOptions::new().section(section);
        assert!(load_tensors(&mut model, &file(|_| ()), &options).is_err(), "{section:?}");
    }
}
