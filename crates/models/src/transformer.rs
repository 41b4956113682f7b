//! The transformer: every vision transformer here is one of these with other parts.

use dfdx::prelude::*;
use inductive_nn::{
    Blocks, Buffer, Build, Context, Fill, Images, Layer, LayerNorm, Layout, Module, Path, Stem, Taped, Visit,
    VisitLayers, VisitLayersMut, VisitMut, run_blocks,
};
use inductive_ops::{Backend, Grid, Readout};

use crate::{Error, Result, classifier::Trunk};

/// Name of the position embedding.
const POSITION: &str = "pos_embed";

/// A position embedding that is added to the tokens, `[1, tokens, C]`.
#[derive(Clone, Debug)]
pub enum Position<N: Dim, const C: usize, E: Dtype, D: Device<E>> {
    /// Trained.
    Learned(Tensor<(Const<1>, N, Const<C>), E, D>),
    /// Saved with the weights and not trained.
    Fixed(Buffer<(Const<1>, N, Const<C>), E, D>),
}

impl<N: Dim, const C: usize, E: Dtype, D: Backend<E>> Position<N, C, E, D> {
    /// Learned positions of so many tokens: N(0, 0.02^2), as timm's.
    ///
    /// # Errors
    /// A device without memory for it.
    pub fn learned(device: &D, tokens: N) -> Result<Self> {
        Ok(Self::Learned(Fill::LINEAR.tensor(device, (Const, tokens, Const))?))
    }

    /// Fixed positions, `[tokens, C]` row by row.
    ///
    /// # Errors
    /// Another number of values.
    pub fn fixed(device: &D, tokens: N, values: &[f64]) -> Result<Self> {
        let shape = (Const::<1>, tokens, Const::<C>);
        if values.len() != shape.num_elements() {
            let expected = format!("{} numbers", shape.num_elements());
            return Err(Error::parts("Position", expected, values.len()));
        }
        let values = values.iter().map(|v| E::from_f64(*v).unwrap_or_default()).collect();
        let tensor = device.try_tensor_from_vec(values, shape).map_err(|e| Error::device("Position", e))?;
        Ok(Self::Fixed(Buffer(tensor)))
    }

    /// How many there are.
    pub fn tokens(&self) -> usize {
        self.tensor().shape().1.size()
    }

    fn tensor(&self) -> &Tensor<(Const<1>, N, Const<C>), E, D> {
        match self {
            Self::Learned(tensor) | Self::Fixed(Buffer(tensor)) => tensor,
        }
    }
}

impl<N: Dim, const C: usize, E: Dtype, D: Backend<E>> Module<E, D> for Position<N, C, E, D> {
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> inductive_nn::Result<()> {
        match self {
            Self::Learned(tensor) => tensor.visit(at, visit),
            Self::Fixed(buffer) => buffer.visit(at, visit),
        }
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> inductive_nn::Result<()> {
        match self {
            Self::Learned(tensor) => tensor.visit_mut(at, visit),
            Self::Fixed(buffer) => buffer.visit_mut(at, visit),
        }
    }
}

/// What becomes of the tokens after the last block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Features {
    /// The class token, normalised.
    #[default]
    ClassToken,
    /// The mean over the normalised tokens.
    MeanOfNorm,
    /// The mean over the tokens, normalised.
    NormOfMean,
}

/// A class token, and where it joins.
#[derive(Clone, Debug)]
pub struct ClassToken<const C: usize, E: Dtype, D: Device<E>> {
    /// `[1, 1, C]`
    pub token: Tensor<Rank3<1, 1, C>, E, D>,
    /// Where it joins the patches.
    pub joins: Joins,
}

/// Where a class token joins the patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// Before positions are added, so that it has one too: ViT, EIT.
    BeforePositions,
    /// Before this block, after the positions, which patches alone have: ConViT.
    BeforeBlock(usize),
}

/// A vision transformer without its head: `STEM` makes tokens of images, positions are added to them, a class token joins,
/// `blocks` follow one another, and the [`Features`] are read out and normalised.
///
/// ViT, DeiT, ConViT, EIT, SimpleViT and PRS are this with other parts; so is a model of one's own, since a block may hold any
/// [`TokenMixer`](inductive_nn::TokenMixer):
///
/// ```
/// use dfdx::prelude::*;
/// use inductive_models::{Context, Features, Joins, Position, Transformer, Trunk};
/// use inductive_nn::{Block, Blocks, Build, Fill, Gpsa, Mhsa, PatchEmbed};
///
/// // A ConViT for images of 16 x 24 pixels: one block of gated attention, then the class token and one of plain attention.
/// let dev = Cpu::seed_from_u64(0);
/// let blocks: Blocks<32, f32, Cpu> = vec![
///     Box::new(Block::<Gpsa<32, 4, false, f32, Cpu>, 32, 64, f32, Cpu>::new(&dev)?),
///     Box::new(Block::<Mhsa<32, 4, false, f32, Cpu>, 32, 64, f32, Cpu>::new(&dev)?),
/// ];
/// let patches = PatchEmbed::<32, 4, f32, Cpu>::new(&dev)?;
/// let trunk = Transformer::new(&dev, patches, blocks, (16, 24), Features::ClassToken)?
///     .class_token(Fill::LINEAR.tensor(&dev, (Const, Const, Const))?, Joins::BeforeBlock(1))
///     .positions(Position::learned(&dev, 24usize)?);
/// let images = dev.sample_normal::<Rank4<2, 3, 16, 24>>().realize::<(usize, usize, usize, usize)>();
/// let features = trunk.features(images, Context::default())?;
/// assert_eq!(features.shape().concrete(), [2, 32]);
/// # Ok::<(), inductive_models::Error>(())
/// ```
///
/// `N` is the number of positions: `usize`, or dfdx's `Const` of it, with which positions of another number do not compile. That
/// there are as many as the grid has patches is checked when a [`Classifier`](crate::Classifier) is made of it, and when it runs.
///
/// ```
/// # use dfdx::prelude::*;
/// # use inductive_models::{Features, Position, Transformer};
/// # use inductive_nn::{Build, PatchEmbed};
/// type Trunk = Transformer<PatchEmbed<32, 4, f32, Cpu>, 32, f32, Cpu, Const<24>>;
/// let dev = Cpu::default();
/// let trunk: Trunk = Transformer::new(&dev, PatchEmbed::new(&dev)?, vec![], (16, 24), Features::MeanOfNorm)?
///     .positions(Position::learned(&dev, Const)?);
/// # Ok::<(), inductive_models::Error>(())
/// ```
///
/// ```compile_fail,E0308
/// # use dfdx::prelude::*;
/// # use inductive_models::{Features, Position, Transformer};
/// # use inductive_nn::{Build, PatchEmbed};
/// # type Trunk = Transformer<PatchEmbed<32, 4, f32, Cpu>, 32, f32, Cpu, Const<24>>;
/// # let dev = Cpu::default();
/// let trunk: Trunk = Transformer::new(&dev, PatchEmbed::new(&dev)?, vec![], (16, 24), Features::MeanOfNorm)?
///     .positions(Position::learned(&dev, Const::<25>)?);
/// # Ok::<(), inductive_models::Error>(())
/// ```
pub struct Transformer<STEM, const C: usize, E: Dtype, D: Device<E>, N: Dim = usize> {
    /// `cls_token`, if there is one.
    pub cls_token: Option<ClassToken<C, E, D>>,
    /// `pos_embed`, if it is added to the tokens.
    pub position: Option<Position<N, C, E, D>>,
    /// Images to tokens, called [`Stem::PATH`].
    pub stem: STEM,
    /// The blocks after the stem, under [`Transformer::blocks_name`].
    pub blocks: Blocks<C, E, D>,
    /// Of what is read out, under [`Transformer::norm_name`].
    pub norm: LayerNorm<C, E, D>,
    /// What the list of blocks is called: `blocks`, or `stages.1.blocks` after a stem that is a stage.
    pub blocks_name: String,
    /// What the last norm is called: `norm`, in timm's models without class token `fc_norm`.
    pub norm_name: &'static str,
    image: (usize, usize),
    grid: Grid,
    features: Features,
}

impl<STEM: Stem<C, E, D>, const C: usize, E: Dtype, D: Backend<E>, N: Dim> Transformer<STEM, C, E, D, N> {
    /// A transformer for images of `(height, width)` pixels, as yet without class token and positions.
    ///
    /// # Errors
    /// An image that the stem does not cover; a device without memory for the norm.
    pub fn new(
        device: &D,
        stem: STEM,
        blocks: Blocks<C, E, D>,
        image: (usize, usize),
        features: Features,
    ) -> Result<Self> {
        let grid = STEM::grid(image)?;
        Ok(Self {
            cls_token: None,
            position: None,
            stem,
            blocks,
            norm: Build::new(device)?,
            blocks_name: "blocks".to_owned(),
            norm_name: "norm",
            image,
            grid,
            features,
        })
    }

    /// With a class token.
    pub fn class_token(self, token: Tensor<Rank3<1, 1, C>, E, D>, joins: Joins) -> Self {
        Self { cls_token: Some(ClassToken { token, joins }), ..self }
    }

    /// With positions that are added to the tokens.
    pub fn positions(self, position: Position<N, C, E, D>) -> Self {
        Self { position: Some(position), ..self }
    }

    /// With other names for the list of blocks and the last norm than `blocks` and `norm`.
    pub fn named(self, blocks: &str, norm: &'static str) -> Self {
        Self { blocks_name: blocks.to_owned(), norm_name: norm, ..self }
    }

    /// The patches of an image, as the blocks see them.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// How the tokens lie before the class token has joined, and after.
    fn layouts(&self) -> (Layout, Layout) {
        let patches = Layout::patches(self.grid);
        let all = if self.cls_token.is_some() { Layout::with_class_token(self.grid) } else { patches };
        (patches, all)
    }

    /// The first block that the class token goes through.
    fn joins(&self) -> usize {
        match self.cls_token {
            Some(ClassToken { joins: Joins::BeforeBlock(block), .. }) => block.min(self.blocks.len()),
            _ => 0,
        }
    }
}

impl<STEM: Stem<C, E, D>, const C: usize, E: Dtype, D: Backend<E>, N: Dim> Module<E, D>
    for Transformer<STEM, C, E, D, N>
{
    fn visit(&self, at: &mut Path, visit: &mut Visit<'_, E, D>) -> inductive_nn::Result<()> {
        let token = self.cls_token.as_ref().map(|it| &it.token as &dyn Module<E, D>);
        let position = self.position.as_ref().map(|it| it as &dyn Module<E, D>);
        let parts: [(&str, Option<&dyn Module<E, D>>); 5] = [
            ("cls_token", token),
            (POSITION, position),
            (STEM::PATH, Some(&self.stem)),
            (&self.blocks_name, Some(&self.blocks)),
            (self.norm_name, Some(&self.norm)),
        ];
        for (name, part) in parts {
            let before = at.enter(name);
            part.map_or(Ok(()), |part| part.visit(at, visit))?;
            at.leave(before);
        }
        Ok(())
    }

    fn visit_mut(&mut self, at: &mut Path, visit: &mut VisitMut<'_, E, D>) -> inductive_nn::Result<()> {
        let token = self.cls_token.as_mut().map(|it| &mut it.token as &mut dyn Module<E, D>);
        let position = self.position.as_mut().map(|it| it as &mut dyn Module<E, D>);
        let parts: [(&str, Option<&mut dyn Module<E, D>>); 5] = [
            ("cls_token", token),
            (POSITION, position),
            (STEM::PATH, Some(&mut self.stem)),
            (&self.blocks_name, Some(&mut self.blocks)),
            (self.norm_name, Some(&mut self.norm)),
        ];
        for (name, part) in parts {
            let before = at.enter(name);
            part.map_or(Ok(()), |part| part.visit_mut(at, visit))?;
            at.leave(before);
        }
        Ok(())
    }

    fn layers(&self, at: &mut Path, visit: &mut VisitLayers<'_, E>) {
        visit(at, self);
        for (name, part) in [(STEM::PATH, &self.stem as &dyn Module<E, D>), (&self.blocks_name, &self.blocks)]
        {
            let before = at.enter(name);
            part.layers(at, visit);
            at.leave(before);
        }
    }

    fn layers_mut(&mut self, at: &mut Path, visit: &mut VisitLayersMut<'_, E>) {
        visit(at, self);
        let parts: [(&str, &mut dyn Module<E, D>); 2] =
            [(STEM::PATH, &mut self.stem), (&self.blocks_name, &mut self.blocks)];
        for (name, part) in parts {
            let before = at.enter(name);
            part.layers_mut(at, visit);
            at.leave(before);
        }
    }
}

impl<STEM, const C: usize, E: Dtype, D: Backend<E>, N: Dim> Layer<E> for Transformer<STEM, C, E, D, N> {
    fn position(&self) -> Option<&'static str> {
        self.position.as_ref().map(|_| POSITION)
    }
}

impl<STEM: Stem<C, E, D>, const C: usize, E: Dtype, D: Backend<E>, N: Dim> Trunk<C, E, D>
    for Transformer<STEM, C, E, D, N>
{
    fn image(&self) -> (usize, usize) {
        self.image
    }

    fn depth(&self) -> usize {
        self.stem.depth() + self.blocks.len()
    }

    fn pass<T: Taped<E, D>>(
        &self,
        images: Images<E, D, T>,
        context: &mut Context<'_, E>,
    ) -> Result<Tensor<(usize, Const<C>), E, D, T>> {
        self.check()?;
        let device = images.device().clone();
        let (mut tokens, grid) = self.stem.tokens(images, context)?;
        if grid != self.grid {
            return Err(Error::parts("model", format!("a {} grid of patches", self.grid), grid));
        }
        let (patches, all) = self.layouts();
        let class_token = self.cls_token.as_ref();
        let first = class_token.filter(|it| it.joins == Joins::BeforePositions);
        if let Some(ClassToken { token, .. }) = first {
            tokens = device.prepend_token(tokens, token)?;
        }
        if let Some(position) = &self.position {
            tokens = device.add_position(tokens, position.tensor())?;
        }
        if self.stem.depth() == 0 {
            let layout = if first.is_some() { all } else { patches };
            context.keep_stem("patch_embed", &layout, &tokens);
        }
        context.enter(&self.blocks_name);
        let (early, late) = self.blocks.split_at(self.joins());
        tokens = run_blocks(early, tokens, &patches, Readout::All, context)?;
        if let Some(ClassToken { token, joins: Joins::BeforeBlock(_) }) = class_token {
            tokens = device.prepend_token(tokens, token)?;
        }
        // The mean needs every token, of the last block too.
        let readout = if self.features == Features::ClassToken { Readout::First } else { Readout::All };
        tokens = run_blocks(late, tokens, &all, readout, context)?;
        Ok(match self.features {
            Features::ClassToken => self.norm.apply(device.select_token(tokens, 0)?)?,
            Features::MeanOfNorm => device.mean_tokens(self.norm.apply(tokens)?, 0)?,
            Features::NormOfMean => self.norm.apply(device.mean_tokens(tokens, 0)?)?,
        })
    }

    /// Refuses a class token that is read and not there, or that joins after the last block, and positions of another number than there are
    /// tokens.
    fn check(&self) -> Result<()> {
        let refuse = |expected: &str, got: String| Err(Error::parts("Transformer", expected, got));
        match &self.cls_token {
            None if self.features == Features::ClassToken => {
                return refuse("a class token, which is what is read out", "none".to_owned());
            }
            Some(ClassToken { joins: Joins::BeforeBlock(block), .. }) if *block >= self.blocks.len() => {
                let expected = format!("a class token that joins before one of {} blocks", self.blocks.len());
                return refuse(&expected, format!("one before block {block}"));
            }
            _ => {}
        }
        let first = self.cls_token.as_ref().is_some_and(|it| it.joins == Joins::BeforePositions);
        let tokens = self.grid.tokens() + usize::from(first);
        match &self.position {
            Some(position) if position.tokens() != tokens => {
                let with = if first { " and a class token" } else { "" };
                let expected = format!("positions of {tokens} tokens: a {} grid of patches{with}", self.grid);
                refuse(&expected, position.tokens().to_string())
            }
            _ => Ok(()),
        }
    }

    fn layout(&self, index: usize) -> Layout {
        let inside = self.stem.depth();
        if index < inside {
            // The stem was asked for its grid when this was built.
            return Layout::patches(self.stem.grid_of_block(self.image, index).unwrap_or(self.grid));
        }
        let (patches, all) = self.layouts();
        if index - inside < self.joins() { patches } else { all }
    }
}
