//! A peer: a Python process that runs the same rows and answers over pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// As `peers.py` calls them.
pub const ENGINES: [&str; 3] = ["eager", "compile", "jax"];

pub struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    pub fn start(python: &Path, engine: &str) -> Result<Peer, String> {
        let mut child = Command::new(python)
            .arg(super::ours::folder().join("peers.py"))
            .arg(engine)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", python.display()))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err("no pipes".into()) };
        Ok(Peer { child, to, from: BufReader::new(from) })
    }

    fn ask(&mut self, request: &str) -> Result<String, String> {
        writeln!(self.to, "{request}").and_then(|()| self.to.flush()).map_err(|e| e.to_string())?;
        let mut answer = String::new();
        match self.from.read_line(&mut answer) {
            Ok(0) => Err("it stopped".into()),
            Ok(_) => Ok(answer),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Builds and warms up a row.
    pub fn prepare(&mut self, row: &str) -> Result<(), String> {
        self.ask(&format!("{{\"row\": \"{row}\"}}")).map(drop)
    }

    /// Runs for about this long; the median time of a run in seconds.
    pub fn measure(&mut self, time: Duration) -> Result<f64, String> {
        let answer = self.ask(&format!("{{\"time\": {}}}", time.as_secs_f64()))?;
        let (_, rest) = answer.split_once("\"median\": ").unwrap_or_default();
        let median = rest.split([',', '}']).next().and_then(|m| m.trim().parse().ok());
        median.ok_or_else(|| format!("an answer that is none: {answer}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be over already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
