//! Tests of the syntax as a whole, on the programs and cases in `tests/cases`.

use std::path::PathBuf;

use mlc_diag::{SourceMap, Style, render_all};

use super::*;

fn cases(area: &str) -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases").join(area);
    let mut found = vec![];
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "mlg") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn errors(name: &str, text: &str) -> String {
    let mut sources = SourceMap::new();
    let id = sources.add(format!("{name}.mlg"), None, text);
    render_all(&parse(id, text).diagnostics, &sources, Style::Plain)
}

#[test]
fn programs_parse() {
    let programs = cases("programs");
    assert_eq!(programs.len(), 21);
    for (name, text) in programs {
        assert_eq!(errors(&name, &text), "", "{name}");
    }
}

#[test]
fn errors_are_explained() {
    for (name, text) in cases("syntax") {
        let rendered = errors(&name, &text);
        insta::with_settings!({
            snapshot_path => "../../../../tests/cases/syntax",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, rendered);
        });
    }
}

fn parsed(text: &str) -> String {
    let p = parse(mlc_diag::SourceId(0), text);
    if p.diagnostics.is_empty() { dump(&p.file) } else { format!("{}\n", p.diagnostics) }
}

/// The value of a one-line binding, as a dump.
fn value(expr: &str) -> String {
    let text = parsed(&format!("x = {expr}"));
    text.strip_prefix("(= x ").and_then(|t| t.strip_suffix(")\n")).unwrap_or(&text).trim_end().to_owned()
}

#[test]
fn operators_bind_as_documented() {
    for (written, tree) in [
        ("-x ** 2", "(- (** x 2))"),
        ("2 ** -1", "(** 2 (- 1))"),
        ("2 ** -x ** 2", "(** 2 (- (** x 2)))"),
        ("a ** b ** c", "(** a (** b c))"),
        ("(-x) ** 2", "(** (- x) 2)"),
        ("not a == b", "(not (== a b))"),
        ("not a and b", "(and (not a) b)"),
        ("a or b and not c", "(or a (and b (not c)))"),
        ("a.b[c](d).e", "(. (call (index (. a b) c) d) e)"),
        ("a - b - c", "(- (- a b) c)"),
        ("a + b * c @ d % e / f", "(+ a (/ (% (@ (* b c) d) e) f))"),
        ("-a * b", "(* (- a) b)"),
        ("a * -b", "(* a (- b))"),
        ("- -a", "(- (- a))"),
        ("a + 1 < b * 2 and c", "(and (< (+ a 1) (* b 2)) c)"),
        ("0..n + 1", "(.. 0 (+ n 1))"),
        ("(a < b) == c", "(== (< a b) c)"),
        ("a <= b", "(<= a b)"),
        ("x < -1", "(< x (- 1))"),
        ("-x.y(2)", "(- (call (. x y) 2))"),
        ("a + b on left", "(+ a (on b left))"),
        ("f(cuda:0, axis: -1)", "(call f cuda:0 (axis: (- 1)))"),
        ("x.to(cpu)", "(call (. x to) cpu:0)"),
        ("(a)", "a"),
        ("(a,)", "(tuple a)"),
        ("(a, b)", "(tuple a b)"),
        ("[a for a, b in xs if c]", "(list-for (a b) xs (if c) a)"),
        ("[]", "(list)"),
        ("[\"a\", \"b\": c, \"**\": d]", "(map (\"a\" \"b\" c) (\"**\" d))"),
        (
            "x[.., None, 1:, :-1, ::2, a : b : c, i]",
            "(index x .. new-axis (slice 1 _) (slice _ (- 1)) (slice _ _ 2) (slice a b c) i)",
        ),
        ("x[:]", "(index x :)"),
        ("f32[batch, ..s, d / 2]", "(type (f32 batch ..s (/ d 2)))"),
        ("bool", "(type bool)"),
        ("\"{a}/b{c}\\{\"", "(text a \"/b\" c \"{\")"),
        ("if a { b } else if c { d } else { e }", "(if a (do b) c (do d) (else e))"),
        ("keep f32 { x }", "(keep f32 (do x))"),
        ("on cuda:1 { x }", "(on cuda:1 (do x))"),
        ("on left { x }", "(on left (do x))"),
        ("while a < b, max: 3 { x }", "(while (< a b) (max: 3) (do x))"),
        ("2GiB", "2147483648"),
        ("1.5KiB", "1536"),
        ("1_000", "1000"),
        ("1e-4", "0.0001"),
        ("1.", "error[E0101]: expected a name, found the end of the file"),
        ("iffy + format + notable", "(+ (+ iffy format) notable)"),
        ("x.if.on", "(. (. x if) on)"),
    ] {
        assert_eq!(value(written), tree, "{written}");
    }
}

/// Both texts are the same program.
#[track_caller]
fn same(a: &str, b: &str) {
    assert_eq!(parsed(a), parsed(b));
    assert!(!parsed(a).contains("error"), "{}", parsed(a));
}

#[test]
fn newlines_end_statements_but_where_a_line_goes_on() {
    same("x = a\n  .b()\n\n  // note\n  .c", "x = a.b().c");
    same("x = a +\n  b", "x = a + b");
    same("x =\n\n  b", "x = b");
    same("x = f(a,\n  b\n  + c,\n)", "x = f(a, b + c)");
    same("x = [a\n, b]\ny = 1", "x = [a, b]; y = 1;");
    same("x = if a { b }\n\nelse if c { d }\nelse { e }", "x = if a { b } else if c { d } else { e }");
    same("fn f(x)\n  -> f32\n  where a == b,\n  c { x }", "fn f(x) -> f32 where a == b, c { x }");
    same("fn f() { a\n\n\nb // c\n; d }", "fn f() { a; b; d }");
    same("fn f() { x <-\n 1 }", "fn f() { x <- 1 }");
    same("fn f() { g({x}) }".replace("{x}", "x").as_str(), "fn f() {\n\n g(x)\n\n}");
    same("fn f() { g(if a {\n b\n c } else { d }) }", "fn f() { g(if a { b; c } else { d }) }");
    same("a = 1 // one\r\nb = 2\r\n", "a = 1\nb = 2");
    // A new line is a new statement, whatever it begins with.
    assert_eq!(
        parsed("fn f() {\n a\n -b\n (c)\n [d]\n where(e)\n}"),
        parsed("fn f() { a; -b; (c); [d]; where(e) }")
    );
}

#[test]
fn comments_and_docs_are_found() {
    let text = "/// One.\n/// Two.\nmodel A {\n  /// Three.\n  x = 1 // four\n  //// five\n}\n/// Six, of nothing.\n";
    let p = parse(mlc_diag::SourceId(0), text);
    assert_eq!(dump(&p.file), "(model A (doc \"One.\\nTwo.\") (= x (doc \"Three.\") 1))\n");
    let comments: Vec<_> = p
        .comments
        .iter()
        .map(|c| (&text[c.span.start as usize..c.span.end as usize], c.doc, c.own_line))
        .collect();
    assert_eq!(comments.len(), 6);
    assert_eq!(comments[3], ("// four", false, false));
    assert_eq!(comments[4], ("//// five", false, true));
}

#[test]
fn spans_run_from_first_to_last_token() {
    let text = "x = f(a) // c\n   .b   // d\n\ny: f32[n] = (1 +\n 2)  ;  fn g() { a  }  // e";
    let p = parse(mlc_diag::SourceId(0), text);
    let at = |s: mlc_diag::Span| &text[s.start as usize..s.end as usize];
    let spans: Vec<&str> = p.file.items.iter().map(|i| at(i.span)).collect();
    assert_eq!(spans, ["x = f(a) // c\n   .b", "y: f32[n] = (1 +\n 2)", "fn g() { a  }"]);
    let ast::ItemKind::Binding(y) = &p.file.items[1].kind else { panic!("a binding") };
    assert_eq!(at(y.value.span), "(1 +\n 2)");
    assert_eq!(at(y.ty.as_ref().unwrap().span), "f32[n]");
    let ast::ItemKind::Fn(g) = &p.file.items[2].kind else { panic!("a function") };
    assert_eq!((at(g.body.span), at(g.body.stmts[0].span)), ("{ a  }", "a"));
}

/// Parses, dumps and formats; none may panic, and the number of diagnostics is bounded.
fn survive(text: &str) {
    let p = parse(mlc_diag::SourceId(0), text);
    assert!(p.diagnostics.0.len() <= MAX_ERRORS);
    assert!(!dump(&p.file).contains('\0'));
    for d in p.diagnostics.iter() {
        for l in &d.labels {
            let (start, end) = (l.span.start as usize, l.span.end as usize);
            assert!(text.get(start..end).is_some(), "{start}..{end} is no part of the text: {}", d.title);
        }
    }
    let _ = index(text);
}

#[test]
fn truncated_programs_survive() {
    for (_, text) in
        cases("programs").into_iter().filter(|(name, _)| ["10_dqn", "17_param_groups"].contains(&&**name))
    {
        for end in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
            survive(&text[..end]);
        }
    }
}

#[test]
fn mutated_programs_survive() {
    // A small generator is enough: what counts is that the same bytes come every time.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n.max(1) as u64) as usize
    };
    const BYTES: &[u8] = b"(){}[]\"\\/\n;:,.=<>-+*@%abz019_ \t#'&|!\xc3\xa9";
    for (_, text) in cases("programs") {
        for _ in 0..12 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=random(6) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = BYTES[random(BYTES.len())],
                    1 => bytes.insert(at, BYTES[random(BYTES.len())]),
                    _ => {
                        let end = (at + random(12)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                }
            }
            match String::from_utf8(bytes) {
                Ok(text) => survive(&text),
                Err(e) => assert!(parse_bytes(mlc_diag::SourceId(0), e.as_bytes()).diagnostics.has_errors()),
            }
        }
    }
}

/// What nests more than the limit is one error; what nests less is read on a thread's small stack.
#[test]
fn deep_nesting_is_an_error() {
    let deep = |open: &str, close: &str, n: usize| format!("x = {}1{}\n", open.repeat(n), close.repeat(n));
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("f(", ")"),
        ("-", ""),
        ("1 + ", ""),
        ("2 ** ", ""),
        ("if a { ", " } else { b }"),
        ("x[", "]"),
        ("not ", ""),
        ("", ".a"),
        ("", "()"),
        ("", "[1]"),
        ("for i in n { ", " }"),
        ("", " on cpu"),
        ("f32[", "]"),
    ] {
        let fine = parsed(&deep(open, close, 120));
        assert!(!fine.contains("E0104"), "{open}: {}", &fine[..fine.len().min(200)]);
        for n in [2_000, 100_000] {
            let text = deep(open, close, n) + "y = 2\n";
            let p = parse(mlc_diag::SourceId(0), &text);
            let codes: Vec<_> = p.diagnostics.iter().map(|d| d.code).collect();
            assert_eq!(codes, ["E0104"], "{open} {n}");
            assert_eq!(p.file.items.len(), 2);
            survive(&text);
        }
        survive(&deep(open, "", 100_000));
        survive(&deep("", close, 100_000));
    }
}

#[test]
fn garbage_survives() {
    let unit = [
        "({[",
        "}])",
        "\"",
        "x = f(\n",
        "} {\n",
        "\u{1f980} ",
        "model A {\n",
        "// \n",
        "a b c\n",
        "{(}",
        ";",
        "x = [",
        "\n\n.a",
    ];
    for (i, a) in unit.iter().enumerate() {
        survive(&a.repeat(3_000));
        for b in &unit[i + 1..] {
            survive(&format!("{a}{b}").repeat(300));
        }
    }
    for text in
        ["", "\n", ";", "//", "///", "\"", "\\", "\0", "\u{feff}x = 1", "(", ")", "x", "x =", "\r", "x = 1\r"]
    {
        survive(text);
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let p = parse_bytes(mlc_diag::SourceId(0), b"x = 1\ny = \xff\n");
    assert_eq!(p.diagnostics.to_string(), "error[E0111]: this is not a text file: line 2 is not UTF-8");
}

/// Items read one at a time are the items of the whole file, spans included.
#[test]
fn lazily_parsed_items_are_the_same() {
    for (name, text) in cases("programs") {
        let source = mlc_diag::SourceId(0);
        let whole = parse(source, &text).file.items;
        let index = index(&text);
        assert_eq!(index.len(), whole.len(), "{name}");
        for (entry, item) in index.iter().zip(&whole) {
            let (lazy, diagnostics) = parse_item(source, &text, entry.range.clone());
            assert!(diagnostics.is_empty(), "{name}");
            assert_eq!(lazy.as_ref(), Some(item), "{name}");
            assert_eq!(entry.name.as_deref(), item.kind.name().map(|n| n.text.as_str()), "{name}");
        }
    }
}

/// An item of megabytes is refused rather than read: garbage may look like one.
#[test]
fn huge_items_are_refused() {
    let p =
        parse(mlc_diag::SourceId(0), &format!("x = 1\nmodel A {{\n{}}}\ny = 2\n", "a b c\n".repeat(100_000)));
    let codes: Vec<_> = p.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!((codes, p.file.items.len()), (vec!["E0111"], 3));
}

/// The library that is part of mlc.
#[test]
fn the_prelude_parses_and_formats() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("prelude");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(errors(&name, &text), "", "{name}");
        check_format(&name, &text);
    }
}

/// The grammar's own rule for a whole file agrees with the split into items.
#[test]
fn the_grammar_alone_reads_the_programs() {
    use pest::Parser as _;
    for (name, text) in cases("programs") {
        let pairs =
            grammar::Grammar::parse(grammar::Rule::file, &text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let items = pairs.flat_map(|p| p.into_inner()).filter(|p| p.as_rule() != grammar::Rule::EOI).count();
        assert_eq!(items, index(&text).len(), "{name}");
    }
}

/// Formatting keeps the program and every comment, and changes nothing twice.
#[track_caller]
fn check_format(name: &str, text: &str) -> String {
    let once = format(text).unwrap_or_else(|d| panic!("{name}: {d}"));
    assert_eq!(parsed(&once), parsed(text), "{name} is another program:\n{once}");
    let comments = |text: &str| -> Vec<String> {
        let all = parse(mlc_diag::SourceId(0), text).comments;
        all.iter().map(|c| text[c.span.start as usize..c.span.end as usize].trim_end().to_owned()).collect()
    };
    assert_eq!(comments(&once), comments(text), "{name}");
    let twice = format(&once).unwrap();
    assert_eq!(twice, once, "{name} is no fixed point");
    once
}

#[test]
fn programs_format() {
    for (name, text) in cases("programs") {
        check_format(&name, &text);
    }
}

#[test]
fn formatting_is_canonical() {
    for (name, text) in cases("format") {
        let once = check_format(&name, &text);
        insta::with_settings!({
            snapshot_path => "../../../../tests/cases/format",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, once);
        });
    }
}

/// Newlines and comments anywhere they are allowed.
#[test]
fn formatting_survives_odd_breaks() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n.max(1)
    };
    let mut formatted = 0;
    for (name, text) in cases("programs") {
        for round in 0..15 {
            let mut odd = text.clone();
            for _ in 0..=random(5) {
                let tokens = scan::scan(&odd);
                let at = tokens[random(tokens.len())].end as usize;
                let insert =
                    ["\n", "  // note\n", "\n\n\n", "   ", "\n// own\n", ";", " /// doc\n"][random(7)];
                odd.insert_str(at, insert);
            }
            if !parse(mlc_diag::SourceId(0), &odd).diagnostics.has_errors() {
                check_format(&format!("{name} {round}:\n{odd}"), &odd);
                formatted += 1;
            }
        }
    }
    assert!(formatted > 100, "only {formatted} texts were programs");
}
