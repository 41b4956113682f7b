//! Attention as a picture: a row per layer, a column per head.

use inductive_analysis::mean_maps;
use inductive_models::BlockRecord;
use inductive_nn::AttentionRecord;
use inductive_report::figure::{Map, Maps};

/// The maps of all layers of attention, each the mean over the images; `L0 H1` is head 1 of the first of them.
pub fn maps(blocks: &[BlockRecord<f32>]) -> Maps {
    let layers = blocks.iter().filter_map(|block| block.attention.as_ref());
    let row = |(layer, record): (usize, &AttentionRecord<f32>)| {
        let side = record.layout.tokens();
        let heads = mean_maps(record).into_iter().enumerate();
        heads.map(|(head, values)| Map { label: format!("L{layer} H{head}"), side, values }).collect()
    };
    Maps { rows: layers.enumerate().map(row).collect() }
}
