//! Ctrl-C: the first one asks the training loop to finish its step and save, the second ends the
//! process. Where nothing is being trained the first one ends it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit;

/// Set by the first Ctrl-C; the training loop looks at it between steps.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static TRAINING: AtomicBool = AtomicBool::new(false);

/// Catches Ctrl-C from here on.
pub fn install() {
    // A second handler cannot be there: this is called once. Without one, Ctrl-C ends the process.
    let _ = ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::Relaxed);
        if again || !TRAINING.load(Ordering::Relaxed) {
            std::process::exit(exit::INTERRUPTED.into());
        }
        crate::show::err("\ninterrupted: finishing this step and saving (Ctrl-C again ends at once)\n");
    });
}

/// From here on there is something to save.
pub fn training() {
    TRAINING.store(true, Ordering::Relaxed);
}

/// The command that continues this run from `folder`: as it was typed, with `--resume`.
pub fn resume_command(args: &[String], folder: &str) -> String {
    let mut words = vec![];
    let mut skip = false;
    for a in args {
        if std::mem::take(&mut skip) || a.starts_with("--resume=") {
            continue;
        }
        if a == "--resume" {
            skip = true;
            continue;
        }
        words.push(quote(a));
    }
    words.push("--resume".to_string());
    words.push(quote(folder));
    words.join(" ")
}

/// A command line that can be pasted: these words, quoted where they need it.
pub fn command_line(args: &[String]) -> String {
    args.iter().map(|a| quote(a)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let args = |line: &str| line.split('|').map(str::to_string).collect::<Vec<_>>();
        assert_eq!(
            resume_command(&args("mlc|run|my model.mlg"), "out"),
            "mlc run 'my model.mlg' --resume out"
        );
        assert_eq!(
            resume_command(&args("mlc|run|a.mlg|--resume|x|--quiet"), "y"),
            "mlc run a.mlg --quiet --resume y"
        );
        assert_eq!(resume_command(&args("mlc|--resume=x|it's"), "y"), r"mlc 'it'\''s' --resume y");
    }
}
