//! `cargo xtask bench --peers`: training steps and inference beside PyTorch eager, torch.compile and JAX, in one run.
//!
//! Engines take turns within each row, several rounds of a fraction of a second each, so that what else the machine does
//! hits all of them. A figure is the least of the rounds' medians. The table is markdown, for docs/performance.md.

mod calls;
mod host;
mod ours;
mod peers;
mod rows;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ours::Ours;
use peers::{ENGINES, Peer};
use rows::Row;

struct Options {
    python: Option<PathBuf>,
    rows: Option<Vec<String>>,
    seconds: f64,
    rounds: usize,
    calls: bool,
    host: bool,
    threads: Vec<usize>,
}

const HELP: &str = "\
cargo xtask bench [--peers] [--python PATH] [--rows NAME,NAME] [--seconds S] [--rounds N] [--threads N]
cargo xtask bench --calls [--rows NAME,NAME] [--seconds S] [--threads N]
cargo xtask bench --host [--seconds S] [--rounds N] [--threads N]

--peers    also PyTorch eager, torch.compile and JAX, by --python (default: python3), which must have torch and jax
--rows     only rows whose name begins so, as simple_nn, mlp.step, gpt, softmax, norm_gelu, start
--seconds  how long one engine runs in one round (default 0.5)
--rounds   how often engines take turns (default 5)
--threads  how many threads mlc uses (default: all); a list as 1,2 makes a column of each, without peers
--calls    instead of the table, for each row the calls of our plan, the slowest first
--host     instead, what the training loop of simple_nn takes beside its steps: data, order, log
";

/// Runs the rows and prints the table.
pub fn run(args: &[&str]) -> ExitCode {
    let options = match parse(args) {
        Ok(options) => options,
        Err(what) => {
            eprint!("{what}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let wanted = |name: &str| options.rows.as_ref().is_none_or(|r| r.iter().any(|r| name.starts_with(&**r)));
    let threads = options.threads.first().copied();
    if options.host {
        return host::table(options.seconds, options.rounds, threads);
    }
    let rows = rows::rows();
    let mut rows = rows.iter().filter(|r| wanted(r.name));
    if options.calls {
        return calls::tables(rows, options.seconds, threads);
    }
    if options.threads.len() > 1 {
        return by_threads(rows, &options);
    }
    let mut peers = vec![];
    for engine in ENGINES.iter().filter(|_| options.python.is_some()) {
        let python = options.python.clone().unwrap_or_default();
        match Peer::start(&python, engine) {
            Ok(peer) => peers.push(Some(peer)),
            Err(e) => {
                eprintln!("{engine}: {e}");
                peers.push(None);
            }
        }
    }
    let heads: Vec<&str> = ENGINES.iter().zip(&peers).map(|(e, _)| *e).collect();
    println!(
        "| row | mlc | {}fastest peer / mlc | Gflop/s | GB/s |",
        heads.iter().map(|h| format!("{h} | ")).collect::<String>()
    );
    println!("|---|---|{}---|---|---|", "---|".repeat(heads.len()));
    let mut failed = false;
    for row in rows.by_ref() {
        match measure(row, &mut peers, &options) {
            Ok((own, theirs)) => println!("{}", line(row, own, &theirs)),
            Err(e) => {
                eprintln!("{}: {e}", row.name);
                failed = true;
            }
        }
    }
    drop(peers);
    if wanted("start") {
        failed |= start::row(options.python.as_deref(), options.rounds).is_err();
    }
    ExitCode::from(u8::from(failed))
}

fn parse(args: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        python: None,
        rows: None,
        seconds: 0.5,
        rounds: 5,
        calls: false,
        host: false,
        threads: vec![],
    };
    let mut at = args.iter();
    while let Some(&arg) = at.next() {
        let mut value = || at.next().copied().ok_or_else(|| format!("{arg} needs a value"));
        let number =
            |v: &str| v.parse::<f64>().ok().filter(|n| *n > 0.0).ok_or_else(|| format!("{v} is no number"));
        match arg {
            "--peers" => options.python = options.python.or(Some("python3".into())),
            "--python" => options.python = Some(value()?.into()),
            "--rows" => options.rows = Some(value()?.split(',').map(String::from).collect()),
            "--seconds" => options.seconds = number(value()?)?,
            "--calls" => options.calls = true,
            "--host" => options.host = true,
            "--threads" => {
                let all = value()?.split(',').map(|n| n.parse().ok().filter(|&n: &usize| n > 0));
                options.threads = all.collect::<Option<_>>().ok_or("--threads needs numbers above 0")?;
            }
            "--rounds" => options.rounds = number(value()?)?.ceil() as usize,
            _ => return Err(format!("{arg}?")),
        }
    }
    Ok(options)
}

/// Each row with each number of threads, and how many times faster the last is than the first.
fn by_threads<'r>(rows: impl Iterator<Item = &'r Row>, options: &Options) -> ExitCode {
    let heads: String = options.threads.iter().map(|n| format!("{n} threads | ")).collect();
    println!("| row | {heads}speed-up |\n|---|---|{}", "---|".repeat(options.threads.len()));
    let mut failed = false;
    for row in rows {
        match times_by_threads(row, options) {
            Ok(times) => {
                let cells: String = times.iter().map(|&t| format!("{} | ", shown(t))).collect();
                println!("| {} | {cells}{:.2} |", row.title, times[0] / times[times.len() - 1]);
            }
            Err(e) => {
                eprintln!("{}: {e}", row.name);
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn times_by_threads(row: &Row, options: &Options) -> Result<Vec<f64>, String> {
    let time = Duration::from_secs_f64(options.seconds);
    let prepared = options.threads.iter().map(|&n| Ours::prepare(row, Some(n)));
    let mut all = prepared.collect::<Result<Vec<Ours>, String>>()?;
    let mut best = vec![f64::INFINITY; all.len()];
    for _ in 0..options.rounds {
        for (ours, best) in all.iter_mut().zip(&mut best) {
            *best = best.min(ours.measure(time)?);
        }
    }
    Ok(best)
}

/// The best of the rounds' medians: ours, then each peer's.
fn measure(
    row: &Row,
    peers: &mut [Option<Peer>],
    options: &Options,
) -> Result<(f64, Vec<Option<f64>>), String> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut ours = Ours::prepare(row, options.threads.first().copied())?;
    for (peer, engine) in peers.iter_mut().zip(ENGINES) {
        if let Some(Err(e)) = peer.as_mut().map(|p| p.prepare(row.name)) {
            eprintln!("{engine}: {}: {e}", row.name);
            *peer = None;
        }
    }
    let (mut own, mut theirs) = (f64::INFINITY, vec![None::<f64>; peers.len()]);
    // The engine before may still have threads that spin.
    let settle = || std::thread::sleep(Duration::from_millis(250));
    for _ in 0..options.rounds {
        settle();
        own = own.min(ours.measure(time)?);
        for (peer, best) in peers.iter_mut().zip(&mut theirs) {
            let Some(peer) = peer else { continue };
            settle();
            let median = peer.measure(time)?;
            *best = Some(best.map_or(median, |b| b.min(median)));
        }
    }
    Ok((own, theirs))
}

fn line(row: &Row, own: f64, theirs: &[Option<f64>]) -> String {
    let cells: String = theirs.iter().map(|t| format!("{} | ", t.map_or("–".into(), shown))).collect();
    let fastest = theirs.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let ratio = if fastest.is_finite() { format!("{:.2}", fastest / own) } else { "–".into() };
    let rate = |amount: f64| if amount > 0.0 { format!("{:.1}", amount / own / 1e9) } else { "–".into() };
    format!("| {} | {} | {cells}{ratio} | {} | {} |", row.title, shown(own), rate(row.flop), rate(row.bytes))
}

/// A time in the unit that suits it.
fn shown(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
