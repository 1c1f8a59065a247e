//! `mlc devices --calibrate`: the table is kept, used, and shows in no result.

use mlc::cpu::Costs;

use super::Folder;

const TRAIN: &str = "run net.mlg --target cpu --quiet --threads 3 --seed 5";

/// The weights after training, and what was said meanwhile.
fn trained(f: &Folder) -> (Vec<u8>, String) {
    let done = f.mlc(&format!("{TRAIN} --save w.safetensors")).ok();
    (f.read("w.safetensors"), done.err)
}

fn table(f: &Folder) -> String {
    let files = super::files_in(&f.path("cache"));
    let named = files.into_iter().find(|n| n.starts_with("costs-") && n.ends_with(".json"));
    format!("cache/{}", named.expect("a table"))
}

#[test]
fn this_machine_is_measured_and_results_are_the_same() {
    let f = Folder::new();
    let (want, _) = trained(&f);
    assert!(f.mlc("devices").ok().out.contains("costs: built in"));
    let done = f.mlc("devices --calibrate").ok();
    for part in ["measured", "built in", "multiply-add", "a byte in memory", "costs-"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    assert!(f.mlc("devices").ok().out.contains("costs: measured"));
    assert_eq!(trained(&f), (want.clone(), String::new()));
    // A table of a machine that is nothing like this one: other chunks, other tiles, the same bits.
    let path = f.path(&table(&f));
    let odd = Costs { grain_ns: 100, cheap: 90_000, reduce: 90_000, far_byte: 9000, ..Costs::default() };
    mlc::costs::write(&path, odd).unwrap();
    assert_eq!(trained(&f), (want, String::new()));
}

#[test]
fn a_table_that_is_no_good_is_a_warning() {
    let f = Folder::new();
    let (want, _) = trained(&f);
    f.mlc("devices --calibrate").ok();
    let name = table(&f);
    let good = f.text(&name);
    let cases = [
        (good[..good.len() / 2].to_string(), "damaged"),
        (good.replace("\"format\": 1", "\"format\": 99"), "another build"),
        (good.replace(&mlc::costs::cpu_name(), "Abacus 9000"), "another CPU, `Abacus 9000`"),
        (good.replace("\"costs\": {", "\"costs\": {\"speed\": 1,"), "damaged"),
    ];
    for (text, why) in cases {
        f.write(&name, &text);
        let (weights, said) = trained(&f);
        assert!(said.contains("warning[W0901]") && said.contains(why), "{why}: {said}");
        assert!(weights == want, "{why}");
        let done = f.mlc("devices").ok();
        assert!(done.err.contains("W0901") && done.out.contains("costs: built in"), "{}", done.out);
    }
}
