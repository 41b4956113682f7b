//! Arguments of the command. Each is documented here and nowhere else; what there is to choose from is listed by `help`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use inductive_files::shown;
use inductive_train::ImageSize;

use crate::{help, hint};

/// Vision transformers that learn from little data: train them, compare them, check what papers claim about them.
#[derive(Debug, Parser)]
#[command(name = "inductive", version, max_term_width = 80, after_help = help::begin())]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

impl Arguments {
    /// Those this process was started with. Ends it where they ask for help or make no sense.
    pub fn of_process() -> Self {
        Self::of(std::env::args_os()).unwrap_or_else(|error| {
            // Refused words are repeated in the message, where they must not steer the terminal.
            let shown = std::env::args_os().map(|word| shown(word.to_string_lossy()).to_string().into());
            Self::of(shown).err().unwrap_or(error).exit()
        })
    }

    fn of(words: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().bin_name(hint::program()).try_get_matches_from(words)?;
        Self::from_arg_matches(&matches)
    }
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// CPU threads; 0: one per core. Results do not depend on it.
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    pub threads: usize,
    /// Where to compute: `cpu`; in a build with CUDA also `cuda`, `cuda:N`, or `auto`, a GPU if there is one.
    #[arg(long, global = true, default_value = Self::CPU)]
    pub device: String,
    /// Plain lines instead of a progress bar, as when the output is not a terminal.
    #[arg(long, global = true)]
    pub plain: bool,
}

impl Common {
    /// Where it is computed if nothing is said.
    pub const CPU: &str = "cpu";
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measures a table of a paper again and says which of its claims hold.
    Reproduce(Reproduce),
    /// Writes a model with new weights, for timm and for training, and pictures of its attention.
    Init(Init),
    /// Turns convolutions of a trained network into attention that computes the same.
    Reparameterize(Reparameterize),
    /// Prints the recipe of a model with every field, what it means and its default.
    Recipe(Recipe),
    /// Trains a model as a recipe says.
    Train(Train),
    /// Measures the accuracy of saved weights.
    Eval(Eval),
    /// Measures which frequencies every operator of a model removes from its feature maps or adds to them.
    Fourier(Fourier),
    /// Lists models, or shows what a model or a checkpoint holds.
    Inspect(Inspect),
    /// Shows the data sets that are known, or checks one.
    Data(Data),
    /// Measures speed and memory of models on this machine, on request beside PyTorch.
    Bench(Bench),
    /// Measures one model for `bench`, which starts this in a process of its own.
    #[command(hide = true)]
    BenchWorker {
        /// What to measure, as JSON.
        task: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = help::tables())]
pub struct Reproduce {
    #[arg(help = help::paper())]
    pub paper: Option<String>,
    #[arg(long, default_value = help::DATA, help = help::data(help::PATHS))]
    pub data: String,
    #[arg(long, default_value = help::PRESET, help = help::presets())]
    pub preset: String,
    /// Paired seeds; the preset's if it is not given.
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// The table, as listed below; the paper's main one if it is not given.
    #[arg(long)]
    pub table: Option<String>,
    /// Shows what can be reproduced, and runs nothing.
    #[arg(long)]
    pub list: bool,
    /// Goes on where an earlier start was stopped. That is what happens anyway; without runs to go on with, this fails.
    #[arg(long)]
    pub resume: bool,
    /// The folder for all runs.
    #[arg(long, default_value = help::RUNS, value_name = "DIR")]
    pub runs: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = help::strategies_and_models())]
pub struct Init {
    /// The model, as listed below.
    #[arg(required_unless_present = "list")]
    pub model: Option<String>,
    /// Which weights: a name as listed below, or a .toml file with the parts of a strategy.
    #[arg(long, value_name = "NAME|FILE")]
    pub strategy: Option<String>,
    /// Shows the names of strategies, and does nothing.
    #[arg(long)]
    pub list: bool,
    /// Where the random numbers begin: a training run with the same seed and strategy begins with the same weights.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Classes of the head, at least 1.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub classes: usize,
    /// The file for the weights, safetensors with timm's names; beside it comes the recipe of a run that begins with them.
    /// Earlier files are replaced.
    #[arg(long, required_unless_present = "list", value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[arg(long, default_value = help::DATA, help = help::data(
        "attention is shown on some of the test images, enlarged to what the model takes if need be"
    ))]
    pub data: String,
    /// Leaves the pictures out; otherwise `.attention.png` and `.position.png` come beside the weights.
    #[arg(long)]
    pub no_pictures: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = help::switchable_models())]
pub struct Reparameterize {
    /// The model's name, as listed below; or a run's folder, or a file of weights that says its model.
    #[arg(value_name = "MODEL|RUN|FILE")]
    pub model: String,
    /// The trained weights, a `.safetensors` file with timm's names.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Which layers, by name or by how their names begin: `layer4`, `layer3.0.conv1,stages.1`, or `all`. Without it those
    /// that can are listed; those that are attention already are left as they are.
    #[arg(long, value_name = "NAMES")]
    pub layers: Option<String>,
    /// Where the weights go, safetensors.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Locality strength; attention leaks 4 exp(-alpha) to the nearest patches. From 16 on the function stays to the last bits.
    #[arg(long, default_value_t = 20.0, value_name = "ALPHA", allow_negative_numbers = true)]
    pub alpha: f64,
    /// The gate between position and content: `linear:SHARE` (1 keeps the function), `sigmoid:LAMBDA` (ConViT's; 1 there) or
    /// `held` (position alone).
    #[arg(long, default_value = "linear:1", value_name = "GATE")]
    pub gate: String,
    #[arg(long, help = help::data(
        "logits before and after are compared on some of the test images; if it is not given, of a run on its own, else on `synthetic`"
    ))]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::models())]
pub struct Recipe {
    /// The model, as listed below.
    #[arg(default_value_t = inductive_train::Recipe::default().model)]
    pub model: String,
    /// Prints the reference of all fields and of what they can be, in Markdown.
    #[arg(long, conflicts_with = "model")]
    pub reference: bool,
}

#[derive(Debug, Args)]
#[command(after_help = help::recipe())]
pub struct Train {
    /// The recipe, a TOML file that names what differs from the default recipe of its model.
    pub recipe: PathBuf,
    #[arg(long, help = help::data("in place of the recipe's"))]
    pub data: Option<String>,
    /// The run's folder; an earlier run of the same recipe in it is continued.
    #[arg(long, value_name = "DIR", default_value = "runs/train")]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = help::models())]
pub struct Eval {
    /// The folder of a run, whose recipe says model and data; or a file of weights that says its model, with --data; or a model's name,
    /// with --weights and --data.
    #[arg(value_name = "RUN|MODEL|FILE")]
    pub what: PathBuf,
    /// The weights, a `.safetensors` file with timm's names; of a run `last.safetensors` in its folder if it is not given.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    #[arg(long, help = help::data("the test images are used; of a run its own if it is not given"))]
    pub data: Option<String>,
    /// Height and width of the images, `48x32` or `48`, if not those of the run or the file, or the model's default: positions are
    /// resampled, and the images of a folder resized.
    #[arg(long, value_name = "SIZE")]
    pub image_size: Option<ImageSize>,
    /// Blocks of the model, if not those of the run or the file, or the model's default.
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
    /// Layers with gated attention (ConViT), if not those of the run or the file, or the model's default.
    #[arg(long, value_name = "N")]
    pub local_up_to_layer: Option<usize>,
    /// Loads what fits and leaves the rest as initialised, instead of refusing weights that do not match.
    #[arg(long)]
    pub partial: bool,
    /// Images per batch; the run's, or 128, if it is not given.
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = help::models())]
pub struct Fourier {
    /// A model's name, for new weights; a run's folder; or a `.safetensors` file with timm's names.
    #[arg(value_name = "MODEL|RUN|FILE")]
    pub what: String,
    /// The model of a file that does not say it; those of `train` and `init` do.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    #[arg(long, help = help::data(
        "test images are used, enlarged to what the model takes if need be; of a run its own if it is not given"
    ))]
    pub data: Option<String>,
    /// Test images, spread over the set.
    #[arg(long, default_value_t = Self::IMAGES, value_name = "N")]
    pub images: usize,
    /// Writes the figures: into the folder DIR, or over depth to FILE.svg and over frequency beside it.
    #[arg(long, value_name = "DIR|FILE.svg")]
    pub out: Option<PathBuf>,
    /// Where the random numbers of new weights begin, as in `init`.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Height and width of the images, `48x32` or `48`, if not those of the file, or the model's default.
    #[arg(long, value_name = "SIZE")]
    pub image_size: Option<ImageSize>,
    /// Blocks of the model, if not those of the file, or the model's default.
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
    /// Layers with gated attention (ConViT), if not those of the file, or the model's default.
    #[arg(long, value_name = "N")]
    pub local_up_to_layer: Option<usize>,
}

impl Fourier {
    /// Test images if nothing is said.
    pub const IMAGES: usize = 256;
}

#[derive(Debug, Args)]
#[command(after_help = help::models())]
pub struct Inspect {
    /// A model's name, a run's folder or a `.safetensors` file; all models with their sizes if it is not given.
    #[arg(value_name = "MODEL|RUN|FILE")]
    pub what: Option<String>,
}

#[derive(Debug, Args)]
pub struct Data {
    #[arg(help = help::data(&format!("the known data sets are shown if it is not given. {}", help::PATHS)))]
    pub data: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = help::models())]
pub struct Bench {
    #[arg(value_name = "MODEL", help = help::bench_models())]
    pub models: Vec<String>,
    /// Images per batch; if it is not given, those in brackets above, for other models 64 of small images and 8 of large ones.
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = BenchMode::Both)]
    pub mode: BenchMode,
    /// Rounds of each measurement; medians, minimum and maximum are over rounds.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Length of a round in seconds; it has three steps at least.
    #[arg(long, default_value_t = 3.0, value_name = "S", allow_negative_numbers = true)]
    pub seconds: f64,
    /// Measures the same models in another program too, in alternation.
    #[arg(long, value_enum)]
    pub peer: Option<Peer>,
    /// The Python with the peer's modules; else `python3` or `python`.
    #[arg(long, requires = "peer", value_name = "PATH")]
    pub python: Option<PathBuf>,
    /// Writes everything, with the time of every step, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes one line per model, mode and program to this file.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// What `bench` measures.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum BenchMode {
    /// Forward pass, cross-entropy with soft targets, backward pass, AdamW
    #[value(alias = "training")]
    Train,
    /// Forward pass without gradients
    Inference,
    /// One after the other
    Both,
}

/// What `bench` compares with.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Peer {
    /// The same models on PyTorch, eager, f32; needs Python with torch and, except for EIT, timm
    Pytorch,
    /// By `torch.compile`
    PytorchCompiled,
    /// By `torch.compile`, with operands in bf16 (`torch.autocast`)
    PytorchAmp,
}

impl Peer {
    /// How it computes.
    pub fn variant(self) -> &'static str {
        match self {
            Self::Pytorch => "eager",
            Self::PytorchCompiled => "compiled",
            Self::PytorchAmp => "amp",
        }
    }
}
