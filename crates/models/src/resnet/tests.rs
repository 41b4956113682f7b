//! ResNets by their types: sizes, grids, names, the order of the running averages.

use dfdx::prelude::*;
use inductive_nn::{BatchStatistics, ModuleExt, Record};
use inductive_ops::DropPath;

use super::*;
use crate::{Classifier, Error, Model, ModelSpec, testing::averages_reach_their_layers};

type Basic = BasicResnet<CifarStem<4, f32, Cpu>, 4, 8, 12, 16, f32, Cpu>;
/// Bottlenecks, three stages, images that are not square and whose sides are odd after the stem.
type Narrow = Resnet<
    ImagenetStem<4, f32, Cpu>,
    BottleneckStage<4, 4, 8, 1, f32, Cpu>,
    BottleneckStage<8, 6, 12, 2, f32, Cpu>,
    BottleneckStage<12, 4, 16, 2, f32, Cpu>,
    NoStage,
    8,
    12,
    16,
    16,
>;
type Of<M> = Classifier<M, 16, Const<10>, f32, Cpu>;

fn of<M: Trunk<16, f32, Cpu>>(trunk: impl FnOnce(&Cpu) -> Result<M>) -> Of<M> {
    let device = Cpu::seed_from_u64(0);
    let trunk = trunk(&device).unwrap();
    Classifier::new(&device, trunk, Const, ModelSpec::default()).unwrap()
}

const BASIC: (usize, usize) = (20, 20);
const NARROW: (usize, usize) = (34, 42);

fn basic() -> Of<Basic> {
    of(|device| Basic::new(device, [1, 2, 1, 1], BASIC))
}

fn narrow() -> Of<Narrow> {
    of(|device| Narrow::new(device, [2, 1, 2, 0], NARROW))
}

/// Numbers that look random, some of them negative.
fn images(batch: usize, (height, width): (usize, usize)) -> Images<f32, Cpu> {
    let values = (0..batch * 3 * height * width).map(|i| ((i * i % 1009) as f32 / 504.0) - 1.0).collect();
    Cpu::default().tensor_from_vec(values, (batch, 3, height, width))
}

#[test]
fn published_sizes_have_their_exact_numbers_of_parameters() {
    let num_params = |name: &str, classes| {
        let options = crate::BuildOptions { classes, ..Default::default() };
        crate::build(&Cpu::default(), name, &options).unwrap().model.num_params()
    };
    assert_eq!(num_params("resnet18", 1000), 11_689_512);
    assert_eq!(num_params("resnet34", 1000), 21_797_672);
    assert_eq!(num_params("resnet50", 1000), 25_557_032);
    assert_eq!(num_params("resnet18_cifar", 10), 11_173_962);
    // The paper's 269,722 and 1,727,962 with shortcuts of zeros, and two projections more: 16 32 + 64 + 32 64 + 128.
    assert_eq!(num_params("resnet20_cifar", 10), 269_722 + 2_752);
    assert_eq!(num_params("resnet110_cifar", 10), 1_727_962 + 2_752);
}

#[test]
fn blocks_lie_where_the_layout_says() {
    fn check(model: &dyn Model<f32, Cpu>, size: (usize, usize), want: &[(usize, usize)]) {
        let mut record = Record::everything();
        model.forward(images(2, size), Some(&mut record)).unwrap();
        assert_eq!(record.blocks.len(), want.len());
        for (index, (block, (rows, cols))) in record.blocks.iter().zip(want).enumerate() {
            let layout = Layout::patches(Grid { rows: *rows, cols: *cols });
            assert_eq!((block.layout, model.layout(index)), (layout, layout), "block {index}");
            assert!(block.attention.is_none() && block.output.len() % (2 * layout.tokens()) == 0);
        }
    }
    check(&basic(), BASIC, &[(20, 20), (10, 10), (10, 10), (5, 5), (3, 3)]);
    check(&narrow(), NARROW, &[(9, 11), (9, 11), (5, 6), (3, 3), (3, 3)]);
}

#[test]
fn running_averages_reach_their_own_layers() {
    // As built, branches end in zeros and nothing depends on them.
    averages_reach_their_layers(&mut basic(), images(16, BASIC), 0.05);
    averages_reach_their_layers(&mut narrow(), images(16, NARROW), 0.05);
}

#[test]
fn a_training_pass_moves_running_averages_and_inference_does_not() {
    let mut model = basic();
    let running = |model: &Of<Basic>| model.trunk.layer3.first.downsample.norm.running_mean.0.as_vec();
    model.forward(images(2, BASIC), None).unwrap();
    let traced = || images(2, BASIC).leaky_traced();
    model.forward_batch(traced(), DropPath::default(), &mut BatchStatistics::default()).unwrap();
    assert_eq!(running(&model), [0.0; 12]);
    (&mut model as &mut dyn Model<f32, Cpu>).forward_train(traced(), DropPath::default()).unwrap();
    assert!(running(&model).iter().all(|mean| *mean != 0.0));
}

#[test]
fn blocks_begin_as_their_shortcut_and_the_head_uniform() {
    let model = basic();
    assert_eq!(model.trunk.layer2.first.bn2.weight.as_vec(), [0.0; 8]);
    assert_eq!(model.trunk.layer2.first.bn1.weight.as_vec(), [1.0; 8]);
    for values in [model.head.weight.as_vec(), model.head.bias.as_vec()] {
        assert!(values.iter().all(|v| v.abs() <= 0.25) && values.iter().any(|v| v.abs() > 0.15));
    }
    let mut record = Record::everything();
    model.forward(images(2, BASIC), Some(&mut record)).unwrap();
    assert_eq!(record.blocks[1].output, record.blocks[2].output, "the second block of layer2");
}

#[test]
fn the_head_is_called_fc_and_drop_path_does_nothing() {
    let mut names = Vec::new();
    let model = narrow();
    let _ = model.for_each_parameter(&mut |p| {
        names.push(p.name().to_owned());
        Ok(())
    });
    for name in ["conv1.weight", "layer1.0.downsample.1.running_var", "layer3.1.bn3.bias", "fc.bias"] {
        assert!(names.iter().any(|n| n == name), "{name} is missing in {names:?}");
    }
    let logits = |rate: f64| {
        let traced = images(2, NARROW).leaky_traced();
        let path = DropPath { rate, seed: 1 };
        model.forward_batch(traced, path, &mut BatchStatistics::default()).map(|logits| logits.as_vec())
    };
    assert_eq!(logits(0.0).unwrap(), logits(0.9).unwrap());
    assert!(matches!(logits(1.0), Err(Error::Schedule(_))));
}

#[test]
fn images_of_another_size_are_refused() {
    let error = basic().forward(images(1, (20, 24)), None).unwrap_err().to_string();
    assert!(error.contains("[batch, 3, 20, 20]"), "{error}");
}
