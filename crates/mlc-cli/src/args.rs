//! The command line: what can be said, and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// mlc compiles and runs neural networks written in .mlg files.
#[derive(Debug, Parser)]
#[command(name = "mlc", version = crate::version(), max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// When to use colours; NO_COLOR is respected under `auto`
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check types, shapes and devices; print parameters, memory and transfers
    Check(CheckArgs),
    /// Compile, and print or write what comes out
    Compile(CompileArgs),
    /// Run what the file declares: its train block, else `forward`
    Run(Box<RunArgs>),
    /// Run the file's `test` blocks
    Test(TestArgs),
    /// Format .mlg files in place
    Fmt(FmtArgs),
    /// Show a library item with its source, or list all
    Doc {
        /// A function, layer, loss, optimizer, schedule or initialiser
        name: Option<String>,
    },
    /// Explain a diagnostic code, or why the compiler fused, cast or transferred
    ///
    /// `mlc explain fusion FILE [ENTRY] [LINE]` lists the kernels with the lines that each holds, why
    /// neighbouring ones are not one kernel, and what lies in memory; with LINE, only what concerns that line.
    Explain(ExplainArgs),
    /// List devices and the libraries found for them
    Devices {
        /// Measure this machine (three seconds) and keep the table of costs in mlc's cache folder
        ///
        /// How fast this machine multiplies, computes and moves bytes, and what sharing work between threads costs,
        /// decides how kernels are cut into chunks and tiles. Results do not depend on it. The table is of this CPU
        /// and of the instruction set in use; another machine's is not used, with a warning. Without one, built-in
        /// costs are used. Measure while nothing else runs.
        #[arg(long)]
        calibrate: bool,
    },
}

/// What check, compile and run share.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// The .mlg file; for `run` also an artifact
    pub file: PathBuf,
    #[command(flatten)]
    pub options: OptionArgs,
}

impl std::ops::Deref for ModelArgs {
    type Target = OptionArgs;

    fn deref(&self) -> &OptionArgs {
        &self.options
    }
}

/// What a file is compiled for.
#[derive(Debug, Args)]
pub struct OptionArgs {
    /// Where to run: auto, cpu, cuda or cuda:N
    #[arg(long, short = 't', default_value = "auto", value_name = "TARGET")]
    pub target: String,
    /// Bind a dim that neither data nor inputs bind: --dim batch=64; for artifacts to several sizes:
    /// --dim batch=1,64
    #[arg(long = "dim", value_name = "NAME=N")]
    pub dims: Vec<String>,
    /// Remap a device of the file: --device left=cpu:1 or --device cuda:1=cpu:1
    #[arg(long = "device", value_name = "NAME=DEVICE")]
    pub devices: Vec<String>,
    /// Override the file's precision: f32, mixed(f16) or mixed(bf16)
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<String>,
    /// The run's seed; does not override a seed in the file
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Threads for CPU kernels; results do not depend on it
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub threads: Option<usize>,
    /// `explicit` makes every transfer that is not spelled `.to` an error
    #[arg(long, value_name = "MODE")]
    pub transfers: Option<TransferMode>,
    /// The most memory a plan may need on each device: 8GiB, 500MB. Values are computed again in the
    /// backward instead of kept where that is needed, and it is an error where it is not enough
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// The model to take entries from, where the file has several
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Contractions in one fixed order: the same bits on every machine
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransferMode {
    Auto,
    Explicit,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Args)]
pub struct CompileArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Only this entry: `train.step`, `forward`
    pub entry: Option<String>,
    /// Print: ast, graph, graph=STAGE, loops, clif, asm or plan
    #[arg(long, value_name = "KIND")]
    pub emit: Vec<String>,
    /// Write an artifact: code and plans for the sizes of --dim and of the data, which `mlc run`
    /// runs without compiling
    #[arg(short, long, value_name = "FILE.mlgx")]
    pub output: Option<PathBuf>,
    /// Parameters and buffers to embed, under PyTorch's names
    #[arg(long, value_name = "FILE.safetensors", requires = "embed_weights")]
    pub weights: Option<PathBuf>,
    /// Put the weights of --weights into the artifact
    #[arg(long, requires = "weights", requires = "output")]
    pub embed_weights: bool,
    /// The GPU architecture to compile for: sm_90
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// A train block, `validate`, or a method: `forward`, `net.generate`
    pub entry: Option<String>,
    /// An input: x=FILE.npy, x=FILE.npz:key, a number, or text:HELLO; a bare .npz or .safetensors
    /// binds by name
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Random inputs: floats N(0, 1), integers 0, unset dims 1
    #[arg(long)]
    pub random_inputs: bool,
    /// Parameters and buffers to start from, under PyTorch's names
    #[arg(long, value_name = "FILE.safetensors")]
    pub weights: Option<PathBuf>,
    /// Write results to a .npz, .safetensors or .txt file instead of printing a summary
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Updates in all, in place of the file's steps and epochs; 0 only compiles and validates
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub steps: Option<u64>,
    /// Epochs in all, in place of the file's steps and epochs
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub epochs: Option<u64>,
    /// Take the data in file order
    #[arg(long)]
    pub no_shuffle: bool,
    /// Write parameters and buffers when the run ends
    #[arg(long, value_name = "FILE.safetensors")]
    pub save: Option<PathBuf>,
    /// Write checkpoints into this folder
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// Steps between checkpoints
    #[arg(long, allow_negative_numbers = true, value_name = "N", requires = "checkpoint")]
    pub every: Option<u64>,
    /// Continue from the checkpoint in this folder
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Write one JSON object for each step and validation
    #[arg(long, value_name = "FILE.jsonl")]
    pub log: Option<PathBuf>,
    /// No progress, no summary
    #[arg(long, short)]
    pub quiet: bool,
    /// Do not keep decoded copies of data files in the user's cache folder
    #[arg(long)]
    pub no_cache: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Only tests whose name holds this
    pub filter: Option<String>,
}

#[derive(Debug, Args)]
pub struct FmtArgs {
    /// The files to format
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Change nothing; exit with 1 where a file would change
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code (E0203), or `fusion`, `precision` or `transfers`
    pub what: String,
    /// The .mlg file, for fusion, precision and transfers
    pub file: Option<PathBuf>,
    /// The entry; all without
    pub entry: Option<String>,
    /// Only decisions about this line
    pub line: Option<u32>,
    #[command(flatten)]
    pub options: OptionArgs,
}
