//! Habits from Python and other languages, and what to write instead.
//!
//! In: the tokens around a syntax error. Out: a diagnostic that names the habit ([`recognise`], E0108), or
//! a hint for the general message ([`hint`]).

use mlc_diag::{Diagnostic, Span};

use super::explain::Around;
use super::grammar::Rule;
use super::parse::Cx;
use super::scan::TokenKind;
use crate::build::suggest::nearest;

/// Words that begin a line elsewhere: what they are called and what to write.
const LINE_WORDS: &[(&str, &str, &str)] = &[
    (
        "def",
        "functions begin with `fn`, methods with their name",
        "write `fn NAME(x) { .. }`, in a model `NAME(x) { .. }`",
    ),
    ("func", "functions begin with `fn`", "write `fn NAME(x) { .. }`"),
    ("function", "functions begin with `fn`", "write `fn NAME(x) { .. }`"),
    ("class", "a network is a `model`", "write `model NAME(size: int) { .. }`"),
    ("struct", "a network is a `model`", "write `model NAME(size: int) { .. }`"),
    ("import", "other files are read with `use`", "write `use \"file.mlg\"`; the library needs no import"),
    ("from", "other files are read with `use`", "write `use \"file.mlg\"`; the library needs no import"),
    ("return", "there is no `return`", "the last expression of a block is its value: write it alone"),
    ("let", "names are bound without a word before them", "write `NAME = value`"),
    ("var", "names are bound without a word before them", "write `NAME = value`"),
    ("const", "names are bound without a word before them", "write `NAME = value`"),
    ("pass", "there is no `pass`", "leave it out; a body without statements is `{ }`"),
    ("del", "there is no `del`", "memory is planned by the compiler: leave it out"),
    ("assert", "there is no `assert`", "in a test write `expect a == b`; about sizes write a `where` fact"),
    ("with", "there is no `with`", "`on cuda:0 { .. }` and `keep f32 { .. }` are blocks of their own"),
    ("elif", "`elif` is written `else if`", "write `if a { .. } else if b { .. } else { .. }`"),
];

/// Python's and other languages' forms that have a message of their own.
pub(super) fn recognise(around: &Around<'_>, span: Span, cx: &Cx<'_>) -> Option<Diagnostic> {
    let (first, length) = around.first();
    let (title, hint) = line_word(around, first, length).or_else(|| sign(around)).or_else(|| form(around))?;
    // The word itself is the mistake, not what follows it.
    let span = match around.found() {
        found if length > 0 && found != "elif" && LINE_WORDS.iter().any(|w| w.0 == first) => {
            first_span(around, cx)
        }
        _ => span,
    };
    Some(Diagnostic::error("E0108", title).label(span, "not written like this").hint(hint))
}

fn first_span(around: &Around<'_>, cx: &Cx<'_>) -> Span {
    around.first_token().map_or(Span::NONE, |t| t.span(cx.source))
}

fn line_word(around: &Around<'_>, first: &str, length: usize) -> Option<(String, String)> {
    let word = match around.found() {
        "elif" => "elif",
        _ if length > 0 && length <= 2 => first,
        found if length == 0 => found,
        _ => return None,
    };
    let (_, title, hint) = LINE_WORDS.iter().find(|w| w.0 == word)?;
    Some(((*title).to_owned(), (*hint).to_owned()))
}

/// Signs that the language has not.
fn sign(around: &Around<'_>) -> Option<(String, String)> {
    let found = around.found();
    let bad = around.found.is_some_and(|t| t.kind == TokenKind::Bad);
    let (title, hint) = match found {
        _ if found.starts_with('\'') => ("strings stand in double quotes", "write `\"text\"`"),
        "/" | "*" if around.touching() == "/*" => {
            ("comments begin with `//`", "write `//` before each line, or `///` for documentation")
        }
        _ if found.starts_with('#') => {
            ("comments begin with `//`", "write `// text`, or `/// text` for documentation")
        }
        "&&" | "&" if bad => ("`&&` is written `and`", "write `a and b`; it is elementwise on bool tensors"),
        "||" if bad => ("`||` is written `or`", "write `a or b`; it is elementwise on bool tensors"),
        "|" if bad => {
            ("there are no lambdas and no `|`", "name a function with `fn`; for bool tensors write `a or b`")
        }
        "!" | "~" if bad => ("this is written `not`", "write `not a`; it is elementwise on bool tensors"),
        "^" if bad => ("powers are written with `**`", "write `a ** b`"),
        "?" if bad => ("there is no `?`", "write `if c { a } else { b }`, or `where(c, a, b)` on tensors"),
        "@" if around.first().1 == 0 => ("there are no decorators", "leave it out"),
        _ => return None,
    };
    Some((title.to_owned(), hint.to_owned()))
}

/// Forms that are written otherwise.
fn form(around: &Around<'_>) -> Option<(String, String)> {
    let (found, before) = (around.found(), around.before());
    let both = |title: &str, hint: &str| Some((title.to_owned(), hint.to_owned()));
    const LAMBDA: (&str, &str) =
        ("there are no lambdas", "give the function a name: `fn NAME(x) { .. }`, and pass that");
    if before == "lambda" || found == "lambda" || found == "->" && around.after_operand() {
        return both(LAMBDA.0, LAMBDA.1);
    }
    if before == "=" && found == ">" && around.touches() {
        return both(LAMBDA.0, LAMBDA.1);
    }
    if found == "=" && around.touches() && matches!(before, "+" | "-" | "*" | "/" | "@" | "%" | "**") {
        return Some((format!("there is no `{before}=`"), format!("write `x = x {before} ..`")));
    }
    if found == "=" && around.expects(Rule::close_paren) && around.after_operand() {
        return both(
            "named arguments are written with a colon",
            "write `name: value`, for instance `axis: -1`",
        );
    }
    let condition = ["if", "while", "expect", "where"].iter().any(|w| around.line_has(w));
    if found == "=" && around.after_operand() && condition {
        return both("`=` binds a name; `==` compares", "write `==`");
    }
    if found == "is" && around.after_operand() {
        return both("`is` is written `==`", "write `x == None`, `x != None`");
    }
    if found == "." && around.first().0 == "model" && matches!(around.line_text(2), Some("(")) {
        return both(
            "models have no base class",
            "write `model NAME { .. }`; what stands in parentheses are config parameters: `(hidden: int = 128)`",
        );
    }
    if before == "self" && found == "." {
        return both("there is no `self`", "members are bound by their names: `fc1 = Linear(4, 8)`");
    }
    if matches!(found, "[" | "<")
        && let Some(hint) = foreign_type(before)
    {
        return Some((format!("there is no type `{before}`"), hint));
    }
    if matches!(found, "*" | "**") && matches!(before, "(" | ",") {
        return both(
            "there are no `*args` and `**kwargs`",
            "name each parameter; a variable number of things is a list: `layers: [model]`",
        );
    }
    if found == "<" && before.parse::<mlc_ir::DType>().is_ok() {
        return both("dims stand in square brackets", "write `f32[batch, 784]`");
    }
    if found == "{" && (around.expects(Rule::expr) || around.expects(Rule::number)) {
        return both(
            "there are no brace literals",
            "a list is `[a, b]`, a map from parameter paths `[\"**.bias\": a, \"**\": b]`; name other things",
        );
    }
    if found == ":"
        && (around.expects(Rule::block) || around.expects(Rule::open_brace))
        && !around.line_has("[")
    {
        return both("blocks stand in braces", "write `{ .. }` instead of a colon and indentation");
    }
    if found == "if" && around.after_operand() {
        return both("a choice begins with `if`", "write `if condition { a } else { b }`");
    }
    None
}

/// A hint for a mistake that the general message names well enough.
pub(super) fn hint(around: &Around<'_>) -> Option<String> {
    let (found, before) = (around.found(), around.before());
    let is_word = around.found.is_some_and(|t| t.kind == TokenKind::Word);
    let name_wanted = around.expects(Rule::name) && !around.expects(Rule::number);
    if is_word && name_wanted && is_reserved(found) {
        return Some(format!("`{found}` is a word of the language; choose another name"));
    }
    if found == "fn" && around.expects(Rule::number) {
        return Some("functions are items: name one with `fn NAME(x) { .. }` and pass the name".to_owned());
    }
    if found == "fn" && around.expects(Rule::lone_model_member) {
        return Some("a method begins with its name: `forward(x: f32[batch, 4]) { .. }`".to_owned());
    }
    if found == "." && around.next.is_some_and(|t| t.kind == TokenKind::Number) {
        return Some(format!("write `0.{}`", around.next()));
    }
    if around.next() == "{" && (around.expects(Rule::block) || around.expects(Rule::open_brace)) {
        return Some("put the `{` on the same line: a new line begins a new statement".to_owned());
    }
    if before == "." && around.touches_number() {
        return Some("a number has digits on both sides of its point: write `1.0`".to_owned());
    }
    if around.touching() == "..." || found == "." && before == ".." && around.touches() {
        return Some("all axes between are written `..`: `x[.., 0]`".to_owned());
    }
    if found == "as" && around.after_operand() {
        return Some(
            "another dtype is `x.cast(f32)`; `as` names a file: `use \"gpt.mlg\" as gpt`".to_owned(),
        );
    }
    if found == "," && around.after_operand() && around.expects(Rule::EOI) {
        return Some("a tuple stands in parentheses: `(a, b)`".to_owned());
    }
    if around.first().1 == 1
        && (is_word || matches!(found, "{" | "("))
        && let Some(word) = item_word(before)
    {
        return Some(format!("did you mean `{word}`?"));
    }
    if found == "<-" {
        return Some(
            "`<-` writes state; for less-than before a negative number put a blank: `a < -1`".to_owned(),
        );
    }
    if found == "=" && before == ")" {
        return Some("a method's body stands in braces: `forward(x) { .. }`".to_owned());
    }
    if around.found.is_some_and(|t| t.kind == TokenKind::Bad) && !found.is_ascii() {
        return Some(
            "names and operators are ASCII; other characters stand in strings and comments only".to_owned(),
        );
    }
    if around.first().1 == 0
        && matches!(found, "+" | "*" | "/" | "@" | "%" | "**" | "and" | "or" | "," | "==")
    {
        return Some(format!(
            "a line goes on after an operator: put `{found}` at the end of the line before"
        ));
    }
    if found == "(" && around.expects(Rule::equals) && !around.expects(Rule::params) && around.first().1 == 1
    {
        return Some("a function here begins with `fn`".to_owned());
    }
    let next_is_operand =
        around.found.is_some_and(|t| matches!(t.kind, TokenKind::Word | TokenKind::Number | TokenKind::Str));
    if next_is_operand && around.after_operand() && around.expects(Rule::close_paren) {
        return Some("put a `,` between arguments".to_owned());
    }
    if next_is_operand && around.after_operand() && around.expects(Rule::close_square) {
        return Some("put a `,` between elements".to_owned());
    }
    None
}

/// The word that begins an item, where `name` is nearly that.
fn item_word(name: &str) -> Option<&'static str> {
    const WORDS: [&str; 9] =
        ["model", "fn", "dataset", "optimizer", "schedule", "train", "test", "device", "use"];
    match name {
        "training" | "trainer" => Some("train"),
        "network" | "module" | "Module" => Some("model"),
        "fun" => Some("fn"),
        _ => nearest(name, WORDS),
    }
}

/// What to write for a type's name from elsewhere.
pub fn foreign_type(name: &str) -> Option<String> {
    const DTYPES: &[(&str, &str)] = &[
        ("f64", "float64 double Float64 DoubleTensor"),
        ("f32", "float float32 Float32 FloatTensor"),
        ("f16", "half float16 Float16 HalfTensor"),
        ("bf16", "bfloat16 BFloat16"),
        ("i64", "long int64 i128 u64 LongTensor"),
        ("i32", "int32 u32 IntTensor"),
        ("i16", "short int16 u16"),
        ("i8", "int8"),
        ("u8", "uint8 byte ByteTensor"),
        ("bool", "boolean Bool BoolTensor"),
        ("str", "string String"),
        ("int", "integer Int usize"),
        ("fn", "function Callable"),
        ("model", "Module"),
    ];
    if matches!(name, "Tensor" | "tensor" | "ndarray" | "Array" | "array") {
        return Some("a tensor's type is its dtype with its dims: `f32[batch, 784]`".to_owned());
    }
    let ours = DTYPES.iter().find(|d| d.1.split(' ').any(|w| w == name))?.0;
    Some(format!("write `{ours}`"))
}

fn is_reserved(word: &str) -> bool {
    const WORDS: [&str; 18] = [
        "if", "else", "for", "while", "scan", "fn", "use", "as", "on", "keep", "and", "or", "not", "true",
        "false", "None", "cpu", "cuda",
    ];
    WORDS.contains(&word) || word.parse::<mlc_ir::DType>().is_ok()
}
