//! From process start to the end of a run of one training step: what a user waits for before anything happens.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Prints the row. mlc trains simple_nn on MNIST for one step; the peers, which would need a data loader, on random data.
pub fn row(python: Option<&Path>, rounds: usize) -> Result<(), ()> {
    let folder = super::ours::folder();
    let mlc = folder.join("../../../target/release/mlc");
    let mut ours = Command::new(&mlc);
    ours.arg("run").arg(folder.join("start.mlg")).args(["--target", "cpu", "--quiet"]);
    // The first run fills the cache of decoded data.
    let Some(own) = best(&mut ours, rounds + 1) else {
        eprintln!("start: {} does not run; build it: cargo build --release", mlc.display());
        return Err(());
    };
    let mut cells = vec![super::shown(own)];
    let mut fastest = f64::INFINITY;
    for engine in super::ENGINES.iter().filter(|_| python.is_some()) {
        let mut theirs = Command::new(python.unwrap_or(Path::new("")));
        theirs.arg(folder.join("peers.py")).arg(engine).arg("simple_nn.step");
        let time = best(&mut theirs, rounds.min(2));
        fastest = time.map_or(fastest, |t| t.min(fastest));
        cells.push(time.map_or("–".into(), super::shown));
    }
    if python.is_none() {
        cells.extend(super::ENGINES.iter().map(|_| "–".to_string()));
    }
    let ratio = if fastest.is_finite() { format!("{:.0}", fastest / own) } else { "–".into() };
    println!("| simple_nn, process start to the end of one step | {} | {ratio} | – | – |", cells.join(" | "));
    Ok(())
}

fn best(command: &mut Command, rounds: usize) -> Option<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut best = None::<f64>;
    for _ in 0..rounds.max(1) {
        let start = Instant::now();
        let over = command.status().is_ok_and(|s| s.success());
        let time = start.elapsed().as_secs_f64();
        if !over {
            return None;
        }
        best = Some(best.map_or(time, |b| b.min(time)));
    }
    best
}
