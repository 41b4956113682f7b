//! The Rust of the documents, word for word: what stands in a document between ```` ```rust ```` and the end has to be here, with
//! what checks it after it.

#[test]
fn a_layer_of_the_nn_crate() -> Result<(), Box<dyn std::error::Error>> {
    use dfdx::prelude::*;
    use inductive_nn::{Build, Gpsa, Layout, TokenMixer};
    use inductive_ops::Grid;

    let dev = Cpu::seed_from_u64(0);
    let mut layer = Gpsa::<48, 4, false, f32, Cpu>::new(&dev)?; // 48 channels, 4 heads
    layer.local_init(1.0)?; // a soft 2x2 convolution
    let tokens = dev.sample_normal::<Rank3<2, 12, 48>>().realize::<(usize, usize, Const<48>)>();
    let (mixed, record) = layer.mix_recorded(tokens, &Layout::patches(Grid { rows: 3, cols: 4 }))?;
    // mixed: [2, 12, 48]; of the record, map: [2, 4, 12, 12], gates: sigma(lambda) of 4 heads
    assert_eq!(mixed.shape().concrete(), [2, 12, 48]);
    let record = record.unwrap();
    assert_eq!((record.map.len(), record.gates.map(|gates| gates.len())), (2 * 4 * 12 * 12, Some(4)));
    Ok(())
}
