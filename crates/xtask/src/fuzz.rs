//! Random programs, random texts and random files, until something disagrees.

use std::process::ExitCode;

use mlc::ir::testing::Rng;
use mlc::runtime::files::from_memory;
use mlc::runtime::host::{AlignedBuf, Bytes};

/// `n` rounds from a seed. Stops at the first failure, with the seed that shows it.
pub fn run(from: u64, n: u64) -> ExitCode {
    for i in 0..n {
        let seed = from.wrapping_add(i);
        if let Err(e) = mlc::testing::check_random_program(seed) {
            eprintln!("{e}\nshow it again with `cargo xtask fuzz {seed} 1`");
            return ExitCode::FAILURE;
        }
        // These must not panic; what they say does not matter.
        let mut rng = Rng(seed);
        let text = mutated(&mut rng, include_bytes!("../../../examples/simple_nn.mlg"));
        let mut sources = mlc::diag::SourceMap::new();
        let id = sources.add("fuzz.mlg", None, String::from_utf8_lossy(&text).into_owned());
        let _ = mlc::frontend::syntax::parse_bytes(id, &text);
        let file = mutated(&mut rng, include_bytes!("../../../tests/fixtures/train/Normed.safetensors"));
        for name in ["x.safetensors", "x.npy", "x.npz", "x-idx3-ubyte", "x.csv"] {
            let Some(copy) = AlignedBuf::copy_of(&file) else { continue };
            let _ = from_memory(name, Bytes::from(copy));
        }
        if i % 100 == 99 {
            println!("{} rounds, seed {seed}", i + 1);
        }
    }
    ExitCode::SUCCESS
}

/// A few bytes changed, dropped or repeated.
fn mutated(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes[..bytes.len().min(4096)].to_vec();
    for _ in 0..1 + rng.below(8) {
        let at = rng.below(out.len().max(1)).min(out.len().saturating_sub(1));
        match rng.below(3) {
            0 => out[at] = rng.below(256) as u8,
            1 => out.truncate(at.max(1)),
            _ => out.insert(at, rng.below(256) as u8),
        }
    }
    out
}
