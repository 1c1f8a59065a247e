//! Proofs about dims: the questions that real models ask, and soundness over random ones.

use mlc_diag::Span;

use super::{Binding, Dim, DimFacts, Fact, Proof, Relation};
use crate::graph::parse_dim;
use crate::testing::Rng;

fn dim(text: &str) -> Dim {
    parse_dim(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn fact(text: &str) -> Fact {
    for rel in [Relation::Eq, Relation::Ne, Relation::Le, Relation::Lt] {
        if let Some((a, b)) = text.split_once(rel.symbol()) {
            return Fact { lhs: dim(a), rel, rhs: dim(b), span: Span::NONE };
        }
    }
    panic!("{text}")
}

/// Facts; names are at least 1 where they are listed.
fn facts(positive: &str, texts: &[&str]) -> DimFacts {
    let mut facts = DimFacts::default();
    for name in positive.split_whitespace() {
        facts.declare(name.into(), Span::NONE, 1);
    }
    texts.iter().for_each(|t| facts.assume(fact(t)));
    facts
}

fn prove(facts: &DimFacts, question: &str) -> Proof {
    let q = fact(question);
    facts.prove(&q.lhs, q.rel, &q.rhs)
}

#[track_caller]
fn holds(facts: &DimFacts, question: &str) {
    assert_eq!(prove(facts, question), Proof::Holds, "{question}");
}

#[track_caller]
fn fails(facts: &DimFacts, question: &str) -> Binding {
    match prove(facts, question) {
        Proof::Fails(binding) => binding,
        other => panic!("{question}: {other:?}"),
    }
}

fn window(d: &Dim, k: i64, s: i64, p: i64) -> Dim {
    &(d + &Dim::from(2 * p - k)).floor_div(&Dim::from(s)) + &Dim::ONE
}

#[test]
fn resnet_residuals_fit_for_every_image_size() {
    let f = facts("batch h w", &[]);
    let mut x = window(&window(&dim("h"), 7, 2, 3), 3, 2, 1);
    for stride in [1, 2, 2, 2] {
        let y = window(&window(&x, 3, stride, 1), 3, 1, 1);
        let skip = window(&x, 1, stride, 0);
        assert_eq!(f.prove(&y, Relation::Eq, &skip), Proof::Holds);
        assert_eq!(f.prove(&Dim::ONE, Relation::Le, &y), Proof::Holds, "{y}");
        x = y;
    }
    assert_eq!(x.eval(&Binding::from([("h".into(), 224)])), Some(7));
    // Without padding the paths differ, and a size shows it.
    let bare = window(&dim("h"), 3, 1, 0);
    assert!(matches!(f.prove(&bare, Relation::Eq, &dim("h")), Proof::Fails(_)));
}

#[test]
fn llama_heads_and_caches() {
    let f = facts("batch time n heads limit d", &["time+n <= limit", "d % heads == 0"]);
    holds(&f, "time <= limit");
    holds(&f, "n <= limit-time");
    holds(&f, "time+1 <= limit");
    holds(&f, "d % heads == 0");
    holds(&f, "heads*(d/heads) == d");
    holds(&f, "batch*time*heads*(d/heads) == batch*time*d");
    fails(&f, "time == n");
    let b = fails(&f, "time+n < limit");
    assert_eq!(b["time"] + b["n"], b["limit"]);
}

#[test]
fn unet_skips_fit_by_divisibility() {
    let f = facts("batch h w", &["h % 8 == 0", "w % 8 == 0"]);
    let mut x = dim("h");
    let mut skips = vec![];
    for _ in 0..3 {
        skips.push(x.clone());
        x = window(&x, 2, 2, 0);
    }
    while let Some(skip) = skips.pop() {
        let up = &Dim::from(2i64) * &x;
        assert_eq!(f.prove(&up, Relation::Eq, &skip), Proof::Holds, "{up} against {skip}");
        x = up;
    }
    holds(&f, "8 <= h");
    holds(&f, "h % 4 == 0");
    holds(&f, "2*((h+1)/2) == h");
    fails(&f, "h % 16 == 0");
    // Too weak a fact gives a size for which it goes wrong.
    let weak = facts("h", &["h % 4 == 0"]);
    let b = fails(&weak, "8*(h/8) == h");
    assert_eq!(b["h"] % 8, 4);
}

#[test]
fn inequalities_combine() {
    let f = facts("a b c", &["a <= b", "b < c", "2*c <= 9"]);
    holds(&f, "a < c");
    holds(&f, "a <= 3");
    holds(&f, "a != c");
    fails(&f, "a == b");
    let f = facts("a b k", &["k <= b"]);
    holds(&f, "a*k <= a*b");
    holds(&f, "k <= a*b");
    holds(&f, "a <= a*b");
    holds(&f, "a+b <= a*b+1");
    holds(&f, "a/2 <= a");
    holds(&f, "a <= 2*(a/2)+1");
    holds(&f, "a%4 <= 3");
    holds(&f, "0 <= a-1");
    fails(&f, "a*b < a*k");
    // Two bounds make an equality.
    let f = facts("a b", &["a <= b", "b <= a"]);
    holds(&f, "a == b");
}

#[test]
fn equalities_substitute() {
    let f = facts("batch", &["n == 2*m", "m == k+1", "batch*3 == total"]);
    holds(&f, "n == 2*k+2");
    holds(&f, "n % 2 == 0");
    holds(&f, "total % 3 == 0");
    fails(&f, "n == k");
    // A divisor that is a sum, and a name that is in its own fact.
    let f = facts("h w", &["(h+w) % 4 == 0", "h == h"]);
    holds(&f, "(h+w)%2 == 0");
    fails(&f, "h % 4 == 0");
}

#[test]
fn facts_of_one_relation_prove_no_other() {
    let f = facts("a b", &["a != b"]);
    holds(&f, "b != a");
    fails(&f, "a <= b");
    fails(&f, "a < b");
    fails(&f, "a == b");
    let f = facts("a b", &["a <= b"]);
    fails(&f, "a < b");
    fails(&f, "a == b");
    fails(&f, "a != b");
}

#[test]
fn counterexamples_satisfy_far_facts() {
    let f = facts("batch h", &["100 <= batch", "h % 32 == 0", "h == 4*batch+k"]);
    let b = fails(&f, "h % 128 == 0");
    assert!(b["batch"] >= 100 && b["h"] % 32 == 0, "{b:?}");
    // Nothing is said where nothing is known: this has no small counterexample.
    let f = facts("a b", &[]);
    assert_eq!(prove(&f, "a*a*a+b*b*b != 1729*1000003"), Proof::Unknown);
}

#[test]
fn what_overflows_is_neither_true_nor_a_panic() {
    let f = facts("a", &["a*9223372036854775807 <= 5", "a <= 3"]);
    for q in ["a <= 4", "a*9223372036854775807 == a", "9223372036854775807+a < a*a*a", "a**60 <= a**61"] {
        let _ = prove(&f, q);
    }
    assert!(matches!(prove(&f, "9223372036854775807+1 == 0"), Proof::Fails(_)));
}

fn random_dim(rng: &mut Rng, depth: usize) -> Dim {
    let leaf = |rng: &mut Rng| match rng.below(5) {
        0 => Dim::from(rng.below(9) as i64),
        n => Dim::sym(["h", "h", "w", "n"][n - 1]),
    };
    if depth == 0 {
        return leaf(rng);
    }
    let (a, b) = (random_dim(rng, depth - 1), random_dim(rng, depth - 1));
    let number = Dim::from(1 + rng.below(6) as i64);
    match rng.below(9) {
        0 | 1 => &a + &b,
        2 | 3 => &a - &b,
        4 => &a * &number,
        5 => &a * &b,
        6 => a.floor_div(&number),
        7 => a.rem(&number),
        _ => a.floor_div(&b),
    }
}

fn random_facts(rng: &mut Rng) -> DimFacts {
    let mut facts = DimFacts::default();
    for name in ["h", "w", "n"] {
        facts.declare(name.into(), Span::NONE, rng.below(3) as i64);
    }
    for _ in 0..rng.below(4) {
        let divisor = Dim::from(2 + rng.below(5) as i64);
        let (lhs, rel, rhs) = match rng.below(4) {
            0 | 1 => (random_dim(rng, 1).rem(&divisor), Relation::Eq, Dim::ZERO),
            2 => (random_dim(rng, 1), Relation::Eq, random_dim(rng, 1)),
            _ => (
                random_dim(rng, 1),
                *rng.pick(&[Relation::Le, Relation::Lt, Relation::Ne]),
                random_dim(rng, 1),
            ),
        };
        facts.assume(Fact { lhs, rel, rhs, span: Span::NONE });
    }
    facts
}

/// All bindings of the three names up to a size that satisfy the facts.
fn models(facts: &DimFacts) -> Vec<Binding> {
    let all = (0..15i64).flat_map(|h| (0..15).flat_map(move |w| (0..15).map(move |n| (h, w, n))));
    let bind = |(h, w, n)| Binding::from([("h".into(), h), ("w".into(), w), ("n".into(), n)]);
    let sizes = |b: &Binding| facts.symbols.iter().all(|s| b[&s.name] >= s.min);
    all.map(bind).filter(|b| sizes(b) && facts.facts.iter().all(|f| f.holds(b) == Some(true))).collect()
}

#[test]
fn proofs_and_counterexamples_are_sound() {
    let mut counts = [0usize; 3];
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let facts = random_facts(&mut rng);
        let models = models(&facts);
        for _ in 0..4 {
            let (a, b) = (random_dim(&mut rng, 2), random_dim(&mut rng, 2));
            let rel = *rng.pick(&[Relation::Eq, Relation::Ne, Relation::Le, Relation::Lt]);
            let asked = format!("seed {seed}: {a} {} {b} under {facts:?}", rel.symbol());
            let truth = |m: &Binding| Some(rel.holds(a.eval(m)?, b.eval(m)?));
            match facts.prove(&a, rel, &b) {
                Proof::Holds => {
                    counts[0] += 1;
                    let wrong = models.iter().find(|m| truth(m) == Some(false));
                    assert_eq!(wrong, None, "{asked}");
                }
                Proof::Fails(m) => {
                    counts[1] += 1;
                    // Dims that cannot be computed, and unequal numbers, fail without an example.
                    if !m.is_empty() {
                        assert_eq!(truth(&m), Some(false), "{asked}: {m:?}");
                        let told = |f: &&Fact| f.holds(&m).is_some();
                        assert!(
                            facts.facts.iter().filter(told).all(|f| f.holds(&m) == Some(true)),
                            "{asked}"
                        );
                        assert!(
                            facts.symbols.iter().all(|s| m.get(&s.name).is_none_or(|n| *n >= s.min)),
                            "{asked}"
                        );
                    }
                }
                Proof::Unknown => counts[2] += 1,
            }
        }
    }
    assert!(counts[0] > 100 && counts[1] > 400, "{counts:?}");
}

#[test]
fn the_normal_form_keeps_values() {
    let models = models(&DimFacts::default());
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let (a, number) = (random_dim(&mut rng, 2), 1 + rng.below(7) as i64);
        let b = random_dim(&mut rng, 1);
        for m in models.iter().step_by(37) {
            let Some(x) = a.eval(m) else { continue };
            assert_eq!(a.floor_div(&Dim::from(number)).eval(m), Some(x.div_euclid(number)), "({a})/{number}");
            assert_eq!(a.rem(&Dim::from(number)).eval(m), Some(x.rem_euclid(number)), "({a})%{number}");
            assert_eq!(a.without_remainders().eval(m), Some(x), "{a}");
            if let Some(y) = b.eval(m) {
                assert_eq!((&a + &b).eval(m), Some(x + y));
                assert_eq!((&a * &b).eval(m), Some(x * y));
            }
            let back = parse_dim(&a.to_string()).unwrap();
            assert_eq!(back, a, "{a}");
        }
    }
}
