//! Points of a forward pass, of every family: what each operator added to the stream.

use dfdx::prelude::*;
use inductive_models::{BuildOptions, Images, Model, ModelSpec, Record, build, entries};
use inductive_nn::{FeatureMap, ModuleExt, OperatorKind, ParameterMut, Point};

/// The smallest model of each family for small images, with and without class token.
fn models() -> Vec<Box<dyn Model<f32, Cpu>>> {
    let mut small: Vec<ModelSpec> = entries().into_iter().map(|entry| entry.spec).collect();
    small.retain(|spec| spec.image.0 <= 32);
    small.sort_by_key(ModelSpec::macs);
    let mut seen = Vec::new();
    small.retain(|spec| {
        let kind = (std::mem::discriminant(&spec.family), spec.attention().map(|attention| attention.pool));
        !seen.contains(&kind) && {
            seen.push(kind);
            true
        }
    });
    assert!(small.len() > 6, "{small:?}");
    let options = BuildOptions { classes: 10, ..Default::default() };
    let model = |spec: ModelSpec| build(&Cpu::seed_from_u64(0), &spec.name, &options).unwrap().model;
    small.into_iter().map(model).collect()
}

fn images(model: &dyn Model<f32, Cpu>) -> Images<f32, Cpu> {
    let (height, width) = model.spec().image;
    let values = (0..2 * 3 * height * width).map(|i| (i * i % 1009) as f32 / 504.0 - 1.0).collect();
    Cpu::default().tensor_from_vec(values, (2, 3, height, width))
}

/// Biases and normalisations that do something: as built, some branches end in zeros.
fn disturb(model: &mut dyn Model<f32, Cpu>) {
    let mut phase = 0.0;
    let visit = &mut |p: &mut dyn ParameterMut<f32, Cpu>| {
        phase += 1.0;
        let values: Vec<f32> = (0..p.numel()).map(|i| 0.7 + 0.5 * (phase + i as f32).sin()).collect();
        if p.shape().len() == 1 && p.trainable() { p.copy_from(&values) } else { Ok(()) }
    };
    model.for_each_parameter_mut(visit).unwrap();
}

#[test]
fn every_operator_is_a_point_and_adds_its_branch_to_the_stream_before() {
    for mut model in models() {
        disturb(&mut *model);
        let name = model.spec().name.clone();
        let mut record = Record::of_points();
        model.forward(images(&*model), Some(&mut record)).unwrap();
        let points = record.points.take().unwrap();
        assert!(record.blocks.iter().all(|block| block.output.is_empty() && block.attention.is_none()));
        assert!(points.len() > model.spec().depth, "{name}: {} points", points.len());
        assert_eq!((points[0].kind, points[0].branch.is_some()), (OperatorKind::Stem, false));
        let last = points.last().unwrap();
        assert_eq!(last.after.grid, model.layout(model.spec().depth - 1).grid, "{name}");
        for pair in points.windows(2) {
            let (before, point) = (&pair[0].after, &pair[1]);
            assert!(points.iter().filter(|other| other.name == point.name).count() == 1, "{}", point.name);
            assert_eq!(point.after.values.len(), 2 * point.after.grid.tokens() * point.after.channels);
            let Some(branch) = &point.branch else {
                let replaces = point.name.ends_with(".channel") || before.grid != point.after.grid;
                assert!(replaces, "{name}: {} has no branch", point.name);
                continue;
            };
            let relu = model.spec().resnet().is_some();
            let sum = before.values.iter().zip(&branch.values);
            let sum = sum.map(|(x, y)| if relu { (x + y).max(0.0) } else { x + y });
            let shape = |map: &FeatureMap<f32>| (map.grid, map.channels);
            if shape(before) == shape(&point.after) {
                assert!(branch.values.iter().any(|v| v.abs() > 1e-3), "{name}: {}", point.name);
                for (sum, after) in sum.zip(&point.after.values) {
                    let tolerance = 1e-4 * (1.0 + after.abs());
                    assert!((sum - after).abs() < tolerance, "{name}: {} {sum} {after}", point.name);
                }
            }
        }
    }
}

#[test]
fn points_change_no_logit_and_a_second_pass_replaces_them() {
    for model in models() {
        let mut record = Record::of_points();
        record.keep_outputs = true;
        let plain = model.forward(images(&*model), Some(&mut Record::everything())).unwrap().as_vec();
        for _ in 0..2 {
            let logits = model.forward(images(&*model), Some(&mut record)).unwrap().as_vec();
            assert_eq!(logits, plain);
        }
        let points = record.points.unwrap();
        // A class token stands in the blocks' outputs and not in the points.
        let (block, point) = (record.blocks.last().unwrap(), points.last().unwrap());
        let output = FeatureMap::new(block.output.clone(), &block.layout, point.after.channels);
        assert_eq!(output, point.after, "{}", model.spec().name);
    }
}

#[test]
fn names_follow_those_of_the_parameters() {
    let names = |name: &str| -> Vec<String> {
        let model = build(&Cpu::seed_from_u64(0), name, &BuildOptions::default()).unwrap().model;
        let mut record = Record::of_points();
        model.forward(images(&*model), Some(&mut record)).unwrap();
        let tell = |point: &Point<f32>| format!("{} {}", point.name, point.kind);
        record.points.unwrap().iter().map(tell).collect()
    };
    assert_eq!(
        names("eit_micro")[..5],
        [
            "patch_embed stem",
            "blocks.0.attn mixed",
            "blocks.0.mlp mlp",
            "blocks.1.attn mixed",
            "blocks.1.mlp mlp"
        ]
    );
    assert_eq!(names("eit_micro").last().unwrap(), "blocks.3.mlp mlp");
    assert!(names("eit_micro").contains(&"blocks.3.attn attention".to_owned()));
    let resnet = names("resnet_micro");
    assert_eq!(resnet[..2], ["stem stem", "layer1.0 convolution"]);
    assert!(resnet.contains(&"layer2.0 convolution".to_owned()), "{resnet:?}");
    assert_eq!(
        names("convmixer_micro")[..3],
        ["stem stem", "blocks.0.spatial convolution", "blocks.0.channel mlp"]
    );
}
