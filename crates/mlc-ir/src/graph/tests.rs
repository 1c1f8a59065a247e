//! The text form and the verifier, over written cases and random graphs.

use std::path::Path;

use mlc_diag::Span;

use super::{Graph, Node, Output, Prov, StateWrite, parse, parse_dim, verify};
use crate::testing::{GraphShape, random_graph};
use crate::types::Dim;

fn case(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/graph").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Equal but for node ids, spans, and what checks say beside their title.
fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!((&a.name, a.stage, a.len()), (&b.name, b.stage, b.len()));
    let (order_a, order_b) = (a.topo_order(), b.topo_order());
    let number =
        |order: &[super::NodeId], v: super::ValueId| (order.iter().position(|n| *n == v.node), v.result);
    for (x, y) in order_a.iter().zip(&order_b) {
        let (x, y): (&Node, &Node) = (a.node(*x), b.node(*y));
        // The text does not tell one NaN from another; everything else is `==`.
        assert_eq!(format!("{:?}", x.op), format!("{:?}", y.op));
        assert_eq!(x.results, y.results);
        assert_eq!(x.prov.phase, y.prov.phase);
        assert_eq!(a.scope_path(x.prov.scope), b.scope_path(y.prov.scope));
        let operands = |n: &Node, order| n.operands.iter().map(|&v| number(order, v)).collect::<Vec<_>>();
        assert_eq!(operands(x, &order_a), operands(y, &order_b));
    }
    let output = |o: &Output, order| (o.name.clone(), number(order, o.value), o.weight.clone());
    assert!(a.outputs.iter().map(|o| output(o, &order_a)).eq(b.outputs.iter().map(|o| output(o, &order_b))));
    let write = |w: &StateWrite, order| (w.state.clone(), number(order, w.value));
    assert!(a.writes.iter().map(|w| write(w, &order_a)).eq(b.writes.iter().map(|w| write(w, &order_b))));
    assert!(
        a.dims.symbols.iter().map(|s| (&s.name, s.min)).eq(b.dims.symbols.iter().map(|s| (&s.name, s.min)))
    );
    let fact = |f: &crate::types::Fact| f.to_string();
    assert!(a.dims.facts.iter().map(fact).eq(b.dims.facts.iter().map(fact)));
    let check = |c: &super::Check| (c.fact.to_string(), c.error.code, c.error.title.clone());
    assert!(a.checks.iter().map(check).eq(b.checks.iter().map(check)));
}

#[test]
fn random_graphs_round_trip() {
    for seed in 0..200 {
        let g = random_graph(seed, &GraphShape { loops: seed as usize % 3 * 8, ..Default::default() });
        verify(&g).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{g}"));
        let text = g.to_string();
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_same(&g, &back);
        assert_eq!(back.to_string(), text, "seed {seed}");
    }
}

#[test]
fn every_form_round_trips() {
    let text = case("forms.ir");
    let g = parse(&text).unwrap();
    verify(&g).unwrap();
    let again = parse(&g.to_string()).unwrap();
    assert_same(&g, &again);
    assert_eq!(g.to_string(), again.to_string());
    // Nothing of the written text is lost, but for comments and blanks.
    let plain = |s: &str| {
        let lines =
            s.lines().map(|l| l.split("//").next().unwrap_or("").split_whitespace().collect::<String>());
        lines.filter(|l| !l.is_empty()).collect::<Vec<_>>()
    };
    let dims = |lines: &[String]| lines.iter().filter(|l| !l.contains("=dim{")).cloned().collect::<Vec<_>>();
    assert_eq!(dims(&plain(&text)), dims(&plain(&g.to_string())));
}

#[test]
fn dims_print_and_parse() {
    for text in
        ["0", "-3", "h", "4*batch+1", "-h+2", "h**2-2*h*w+7", "((h+1)/(2))", "2*((h-1)%(4))*w+3", "overflow"]
    {
        let d = parse_dim(text).unwrap();
        assert_eq!(parse_dim(&d.to_string()), Ok(d), "{text}");
    }
    assert_eq!(parse_dim("h - (w + 1) * 2").unwrap().to_string(), "h-2*w-2");
    assert!(parse_dim(&"(".repeat(100_000)).is_err());
}

#[test]
fn regions_do_not_nest_without_end() {
    let scan = "%0: i64 = scan {trips=1, each=0, carries=0} body { ";
    let text = format!("graph @g stage=built {{ {}", scan.repeat(10_000));
    assert!(parse(&text).unwrap_err().to_string().contains("regions nest too deep"));
}

/// Each `// error: LINE:COLUMN: MESSAGE` stands above a graph that gives it.
#[test]
fn parse_errors_name_the_place() {
    let text = case("errors.txt");
    let cases = text.split("// error: ").skip(1).map(|part| part.split_once('\n').unwrap());
    let (want, have): (Vec<String>, Vec<String>) =
        cases.map(|(want, graph)| (want.to_string(), parse(graph).expect_err(graph).to_string())).unzip();
    assert!(want.len() >= 15, "{}", want.len());
    assert_eq!(have, want);
}

/// Each `// V4` stands above a graph that breaks exactly this rule.
#[test]
fn the_verifier_names_the_broken_rule() {
    let text = case("invalid.ir");
    let mut rules = std::collections::BTreeSet::new();
    for part in text.split("// V").skip(1) {
        let (number, graph) = part.split_once('\n').unwrap();
        let rule = format!("V{number}");
        let g = parse(graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let broken = verify(&g).expect_err(graph);
        assert!(broken.violations.iter().all(|v| v.rule == rule), "{rule}: {broken}\n{graph}");
        rules.insert(rule);
    }
    for rule in [4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15] {
        assert!(rules.contains(&format!("V{rule}")), "no case for V{rule}");
    }
}

#[test]
fn broken_structure_is_found() {
    let mut g = parse(&case("forms.ir")).unwrap();
    let gone = g.topo_order()[0];
    let user = g.users(gone)[0];
    g.remove(gone);
    let e = verify(&g).unwrap_err();
    assert!(e.violations.iter().any(|v| v.rule == "V1" && v.node == Some(user)), "{e}");
    assert!(e.violations.iter().any(|v| v.rule == "V2"), "{e}");

    let mut g = Graph::new("scope");
    let prov = Prov { scope: super::ScopeId(7), ..Prov::at(Span::NONE) };
    super::GraphBuilder::new(&mut g, prov).dim(Dim::ONE).unwrap();
    assert_eq!(verify(&g).unwrap_err().violations[0].rule, "V10");

    // A value that uses itself.
    let mut g = Graph::new("cycle");
    let x = super::GraphBuilder::new(&mut g, Prov::NONE).dim(Dim::ONE).unwrap();
    let mut b = super::GraphBuilder::new(&mut g, Prov::NONE);
    let y = b.neg(x).unwrap();
    let z = b.neg(y).unwrap();
    g.rewrite_operands(y.node, |_| z);
    assert_eq!(verify(&g).unwrap_err().violations[0].rule, "V3");
    assert!(g.to_string().contains("map"), "a broken graph still prints");
}

#[test]
fn rebuilding_without_a_change_changes_nothing() {
    for seed in 0..50 {
        let g = random_graph(seed, &GraphShape::default());
        let mut h = g.clone();
        h.rebuild(|new, _, node| Ok(new.insert_values(node))).unwrap();
        assert_eq!(g.to_string(), h.to_string());
        verify(&h).unwrap();
    }
}
