//! What transformers are made of, on the tiny models' shapes, and the optimizer's step.

use super::*;

#[divan::bench_group]
mod linear {
    use super::*;

    const OUT: usize = 3 * C;

    fn work(size: Named) -> Work {
        let rows = size.rows();
        Work { flops: 2 * rows * C * OUT, numbers: rows * (C + OUT) + C * OUT }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        let (w, b) = (weight::<Rank2<OUT, C>>(), weight::<Rank1<OUT>>());
        let (batch, count, _) = *x.shape();
        bench_forward(bencher, work(size), || {
            dev.linear(x.clone(), &w, Some(&b), (batch, count, Const::<OUT>))
        });
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        // 192 to 192: the loss takes tokens of this width.
        let (dev, x) = (Cpu::default(), tokens(size.0));
        let (w, b) = (weight::<Rank2<C, C>>(), weight::<Rank1<C>>());
        let work = Work { flops: 2 * size.rows() * C * C, numbers: 2 * size.rows() * C + C * C };
        bench_backward(bencher, work, || {
            dev.linear(x.leaky_trace(), &w, Some(&b), *x.shape()).expect("fits")
        });
    }
}

#[divan::bench_group]
mod layer_norm {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: 8 * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x, w, b) = (Cpu::default(), tokens(size.0), weight::<Rank1<C>>(), weight::<Rank1<C>>());
        bench_forward(bencher, work(size), || dev.layer_norm(x.clone(), &w, &b, 1e-6));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x, w, b) = (Cpu::default(), tokens(size.0), weight::<Rank1<C>>(), weight::<Rank1<C>>());
        bench_backward(bencher, work(size), || dev.layer_norm(x.leaky_trace(), &w, &b, 1e-6).expect("fits"));
    }
}

#[divan::bench_group]
mod gelu {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: (EXP + 3) * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_forward(bencher, work(size), || dev.gelu(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_backward(bencher, work(size), || dev.gelu(x.leaky_trace()).expect("fits"));
    }
}

#[divan::bench_group]
mod softmax {
    use super::*;

    fn work(size: Named) -> Work {
        Work { flops: (EXP + 3) * size.rows() * C, numbers: 2 * size.rows() * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_forward(bencher, work(size), || dev.softmax(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (dev, x) = (Cpu::default(), tokens(size.0));
        bench_backward(bencher, work(size), || dev.softmax(x.leaky_trace()).expect("fits"));
    }
}

/// The MLP with its normalisation and residual connection.
#[divan::bench_group]
mod mlp {
    use super::*;

    struct Parameters {
        weight1: Tensor<Rank2<HIDDEN, C>, f32, Cpu>,
        bias1: Tensor<Rank1<HIDDEN>, f32, Cpu>,
        weight2: Tensor<Rank2<C, HIDDEN>, f32, Cpu>,
        bias2: Tensor<Rank1<C>, f32, Cpu>,
    }

    impl Parameters {
        fn new() -> Self {
            Self { weight1: weight(), bias1: weight(), weight2: weight(), bias2: weight() }
        }

        fn apply<T: Tape<f32, Cpu>>(&self, x: Tokens<T>) -> Tokens<T> {
            let Self { weight1, bias1, weight2, bias2 } = self;
            let branch = Branch { weight: bias2, bias: bias2, eps: 1e-6, scale: None };
            let weights = MlpWeights { weight1, bias1, weight2, bias2 };
            Cpu::default().mlp(x, weights, Some(branch)).expect("fits")
        }
    }

    fn work(size: Named) -> Work {
        let rows = size.rows();
        let flops = rows * (4 * C * HIDDEN + (EXP + 3) * HIDDEN);
        Work { flops, numbers: rows * 2 * C + 2 * C * HIDDEN }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.apply(x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.apply(x.leaky_trace()));
    }
}

/// Attention with its projections, normalisation and residual connection.
#[divan::bench_group]
mod attention {
    use super::*;

    struct Parameters {
        qkv: Tensor<Rank3<3, C, C>, f32, Cpu>,
        qk: Tensor<Rank3<2, C, C>, f32, Cpu>,
        square: Tensor<Rank2<C, C>, f32, Cpu>,
        vector: Tensor<Rank1<C>, f32, Cpu>,
        position: Tensor<Rank2<H, 3>, f32, Cpu>,
        heads: Tensor<Rank1<H>, f32, Cpu>,
    }

    impl Parameters {
        fn new() -> Self {
            Self {
                qkv: weight(),
                qk: weight(),
                square: weight(),
                vector: weight(),
                position: weight(),
                heads: weight(),
            }
        }

        fn branch(&self) -> Branch<'_, C, f32, Cpu> {
            Branch { weight: &self.vector, bias: &self.vector, eps: 1e-6, scale: None }
        }

        fn content<T: Tape<f32, Cpu>>(&self, readout: Readout, x: Tokens<T>) -> Tokens<T> {
            let Self { qkv, square, vector, .. } = self;
            let weights = SelfAttentionWeights { qkv, qkv_bias: None, proj: square, proj_bias: vector };
            Cpu::default().self_attention(H, x, weights, readout, Some(self.branch())).expect("fits")
        }

        fn gated<T: Tape<f32, Cpu>>(&self, side: usize, x: Tokens<T>) -> Tokens<T> {
            let Self { qk, square, vector, position, heads, .. } = self;
            let weights = GatedSelfAttentionWeights {
                qk,
                qk_bias: None,
                v: square,
                v_bias: None,
                proj: square,
                proj_bias: vector,
                gate: PositionalGate { weight: position, bias: heads, gating: heads },
            };
            Cpu::default()
                .gated_self_attention(Grid::square(side), x, weights, Some(self.branch()))
                .expect("fits")
        }
    }

    fn work(size: Named) -> Work {
        let ((images, tokens), rows) = (size.images_tokens(), size.rows());
        let maps = images * tokens * tokens;
        let flops = 8 * rows * C * C + 4 * maps * C + (EXP + 3) * maps * H;
        Work { flops, numbers: rows * 2 * C + 4 * C * C }
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.content(Readout::All, x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.content(Readout::All, x.leaky_trace()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn forward_gated(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_forward(bencher, work(size), || p.gated(size.0.1, x.clone()));
    }

    #[divan::bench(args = SIZES.map(Named))]
    fn backward_gated(bencher: Bencher<'_, '_>, size: Named) {
        let (x, p) = (tokens(size.0), Parameters::new());
        bench_backward(bencher, work(size), || p.gated(size.0.1, x.leaky_trace()));
    }

    /// Counted with the work of what is read out: keys and values of all tokens, the rest for one.
    #[divan::bench(args = SIZES.map(Named))]
    fn forward_class_token(bencher: Bencher<'_, '_>, size: Named) {
        let ((images, count), rows) = (size.images_tokens(), size.rows());
        let flops = 4 * rows * C * C + 4 * images * C * C + 4 * rows * C + (EXP + 3) * rows * H;
        let work = Work { flops, numbers: (rows + images) * C + 4 * C * C };
        let (x, p) = (tokens(size.0), Parameters::new());
        assert_eq!(x.shape().1, count);
        bench_forward(bencher, work, || p.content(Readout::First, x.clone()));
    }
}

#[divan::bench_group]
mod patch_embed {
    use super::*;

    const P: usize = 4;

    #[divan::bench(args = [64, 256])]
    fn forward(bencher: Bencher<'_, '_>, batch: usize) {
        let images = random((batch, 3, 32, 32), 1.0);
        let (w, b) = (weight::<Rank4<C, 3, P, P>>(), weight::<Rank1<C>>());
        let work = Work { flops: 2 * batch * 64 * 48 * C, numbers: batch * (3 * 1024 + 64 * C) };
        bench_forward(bencher, work, || Cpu::default().patch_embed(images.clone(), &w, &b, false));
    }
}

#[divan::bench_group]
mod adamw {
    use super::*;

    type Weight = Tensor<Rank2<HIDDEN, C>, f32, Cpu>;

    #[divan::bench]
    fn update(bencher: Bencher<'_, '_>) {
        let dev = Cpu::default();
        let mut parameter: Weight = weight();
        let mut moments = Moments::zeros(&dev, HIDDEN * C).expect("memory");
        let mut gradients = Gradients::leaky();
        gradients.get_or_alloc_mut(&parameter).expect("memory");
        let step = AdamWStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.05,
            step: 1,
            gradient_scale: 1.0,
        };
        let work = Work { flops: 12 * HIDDEN * C, numbers: 7 * HIDDEN * C };
        bencher
            .counter(ItemsCount::new(work.flops))
            .counter(BytesCount::new(4 * work.numbers))
            .bench_local(|| dev.adamw(&mut parameter, &mut gradients, &mut moments, &step));
    }
}
