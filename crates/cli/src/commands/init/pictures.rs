//! Attention as a picture: a row per layer, a column per head.

use inductive_analysis::mean_maps;
use inductive_nn::AttentionRecord;
use inductive_report::figure::{Map, Maps};

/// The maps of all layers, each the mean over the images; `L0 H1` is head 1 of layer 0.
pub fn maps(layers: &[AttentionRecord<f32>]) -> Maps {
    let row = |(layer, record): (usize, &AttentionRecord<f32>)| {
        let side = record.layout.tokens();
        let heads = mean_maps(record).into_iter().enumerate();
        heads.map(|(head, values)| Map { label: format!("L{layer} H{head}"), side, values }).collect()
    };
    Maps { rows: layers.iter().enumerate().map(row).collect() }
}
