//! Random programs through evaluator, passes, interpreter and compiled code: a bounded part of
//! `cargo xtask fuzz`.

#[test]
fn all_evaluators_agree_on_random_programs() {
    let results: Vec<Result<bool, String>> = (0..150).map(mlc::testing::check_random_program).collect();
    let failures: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    let checked = results.iter().filter(|r| matches!(r, Ok(true))).count();
    assert!(checked > 100, "only {checked} programs ran");
}
