//! Operations on the sequence of tokens on the CPU: copies and sums, too small to share among threads.

/// Puts `token` in front of each sample: `x: [batch, tokens, C]` to `[batch, tokens + 1, C]`.
pub(crate) fn prepend(batch: usize, x: &[f32], token: &[f32]) -> Vec<f32> {
    let mut y = Vec::with_capacity(x.len() + batch * token.len());
    for sample in x.chunks_exact(x.len() / batch) {
        y.extend_from_slice(token);
        y.extend_from_slice(sample);
    }
    y
}

/// Token `index` of each sample of `[batch, tokens, width]`.
pub(crate) fn select((tokens, width): (usize, usize), x: &[f32], index: usize) -> Vec<f32> {
    x.chunks_exact(tokens * width).flat_map(|sample| &sample[index * width..][..width]).copied().collect()
}

/// Mean over the tokens from `first` on of each sample.
pub(crate) fn mean((tokens, width): (usize, usize), x: &[f32], first: usize) -> Vec<f32> {
    let scale = 1.0 / (tokens - first) as f32;
    let mut y = vec![0.0; x.len() / tokens];
    for (y, sample) in y.chunks_exact_mut(width).zip(x.chunks_exact(tokens * width)) {
        for token in sample[first * width..].chunks_exact(width) {
            y.iter_mut().zip(token).for_each(|(y, x)| *y += x * scale);
        }
    }
    y
}
