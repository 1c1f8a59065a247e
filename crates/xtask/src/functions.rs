//! The accuracy of function expansions over all inputs.

use std::process::ExitCode;

use mlc::ir::loops::functions::{Func, ulp_error_exhaustive};

const FUNCTIONS: [(&str, Func); 10] = [
    ("exp", Func::Exp),
    ("expm1", Func::Expm1),
    ("log", Func::Log),
    ("log1p", Func::Log1p),
    ("sin", Func::Sin),
    ("cos", Func::Cos),
    ("tan", Func::Tan),
    ("tanh", Func::Tanh),
    ("erf", Func::Erf),
    ("sigmoid", Func::Sigmoid),
];

/// Prints the worst error of each function (or one); fails above 1 ulp.
pub fn check(name: Option<&str>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (label, f) in FUNCTIONS.iter().filter(|f| name.is_none_or(|n| n == f.0)) {
        match ulp_error_exhaustive(*f) {
            Some(e) => {
                println!("{label}: {:.3} ulp at {:e}", e.ulps, e.at);
                if e.ulps > 1.0 {
                    code = ExitCode::FAILURE;
                }
            }
            None => println!("{label}: no reference"),
        }
    }
    code
}
