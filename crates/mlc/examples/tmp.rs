//! tmp
fn main() {
    let t0 = std::time::Instant::now();
    let f = std::env::args().nth(1).unwrap();
    let p = match mlc::Compiler::new().target(mlc::Target::Cpu).compile_file(&f) { Ok(p) => p, Err(e) => { println!("{e}"); return; } };
    println!("front end {:?}", t0.elapsed());
    for e in &p.ir().entries { println!("{} {} nodes", e.name, e.graph.len()); }
    for s in &p.ir().states { println!("{} {}", s.path, s.ty); }
    let mut s = match p.session(mlc::Seed(0)) { Ok(p) => p, Err(e) => { println!("{e}"); return; } };
    println!("session {:?}", t0.elapsed());
    struct O(std::time::Instant, u64);
    impl mlc::runtime::train::Observer for O {
        fn step(&mut self, r: &mlc::runtime::train::StepReport) { self.1 += 1; if self.1 < 4 || self.1 % 100 == 0 { println!("{:?} step {} loss {} {:?} lr {:?} {} ms", self.0.elapsed(), r.step, r.loss(), r.metrics, r.lr, r.ms) } }
        fn validation(&mut self, r: &mlc::runtime::train::ValidationReport) { println!("{:?}", r) }
        fn warn(&mut self, w: mlc::diag::Diagnostic) { println!("{}", w.title) }
    }
    let o = mlc::runtime::train::TrainOptions { steps: std::env::args().nth(2).map(|s| s.parse().unwrap()), ..Default::default() };
    match s.train(0, &o, &std::sync::atomic::AtomicBool::new(false), &mut O(t0, 0)) { Ok(r) => println!("{r:?}"), Err(e) => println!("{e}") }
}
