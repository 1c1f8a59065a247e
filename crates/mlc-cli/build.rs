//! Names the build for `mlc --version`: profile and target.

fn main() {
    let get = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo:rustc-env=MLC_BUILD={} {}", get("PROFILE"), get("TARGET"));
    println!("cargo:rerun-if-changed=build.rs");
}
