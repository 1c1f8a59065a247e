//! Names that people bring from PyTorch and Python, and what is written here instead.
//!
//! Used where a name is unknown already: a hint, never a meaning.

/// Names that stand alone, methods and members alike: what to write.
const NAMES: &[(&str, &str)] = &[
    (
        "torch nn np F optim functional",
        "the library needs no prefix: `relu(x)`, `Linear(4, 8)`, `adam(lr: 1e-3)`",
    ),
    (
        "device",
        "nothing is moved by hand: choose with `--target`; for several devices name one: `device left = cuda:0`",
    ),
    (
        "cuda cpu",
        "nothing is moved by hand: choose with `--target`, or write `x.to(cuda:0)` where several devices matter",
    ),
    ("view", "write `reshape(x, [b, -1])` or `flatten(x, start: 1)`"),
    (
        "contiguous clone copy requires_grad_ requires_grad",
        "leave it out: values never change, and the compiler lays them out",
    ),
    (
        "float double half bfloat16 long int short byte bool type astype float64 float32 float16 int64 int32 int16 int8 uint8",
        "write `x.cast(f32)`; dtypes are f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool",
    ),
    ("size", "write `x.shape[0]`, or use the dim's name"),
    ("ndim dim", "write `rank(x)`"),
    ("numel", "multiply the dims, or use their names"),
    ("T mT t", "write `transpose(x)`, or `transpose(x, a, b)` for two axes"),
    ("swapaxes movedim", "write `transpose(x, a, b)` or `permute(x, [..])`"),
    ("detach data", "write `stop_gradient(x)`"),
    (
        "item numpy tolist",
        "leave it out: results are printed or written by `mlc run`, losses and metrics by `--log`",
    ),
    ("print", "nothing prints while it runs: return the value, make it a `metric`, or `expect` it in a test"),
    (
        "backward",
        "leave it out: what `loss(..) { .. }` ends with is differentiated; `grad(y, x)` is an expression",
    ),
    ("zero_grad step", "leave it out: the update follows from `loss` and `optimizer` in the train block"),
    ("train eval no_grad", "leave it out: `training` is true in a training step and false elsewhere"),
    ("cat hstack vstack", "write `concat([a, b], axis: 0)`"),
    ("arange", "write `iota(i64[n])`; in a `for`, `0..n`"),
    ("rand rand_like", "write `uniform(f32[n, d])`"),
    ("randn randn_like", "write `normal(f32[n, d])` or `normal_like(x)`"),
    ("mm bmm dot mv", "write `a @ b`"),
    ("add sub mul div", "write the operator: `a + b`, `a - b`, `a * b`, `a / b`"),
    ("eq ne lt le gt ge", "write the comparison: `a == b`, `a < b`"),
    ("logical_and logical_or logical_not", "write `a and b`, `a or b`, `not a`"),
    ("values indices", "`max(x, axis: ..)` gives the values, `argmax(x, axis: ..)` their indices"),
    ("repeat", "write `tile(x, [..])`, or `repeat_interleave(x, n, axis: ..)`"),
    ("empty empty_like", "write `zeros(f32[n, d])`, `zeros_like(x)`"),
    ("amax amin", "write `max(x, axis: ..)`, `min(x, axis: ..)`"),
    ("var", "write `variance(x, axis: ..)`"),
    ("square", "write `x ** 2`"),
    ("masked_fill", "write `where(mask, value, x)`"),
    ("expand_as", "write `expand(x, [..])`; a dim of 1 also stretches by itself"),
    ("eye", "write `one_hot(iota(i64[n]), n).cast(f32)`"),
    ("ModuleList", "write a list: `blocks = [Block() for _ in 0..4]`"),
    ("Module", "a network is a `model NAME { .. }`"),
    ("Parameter", "declare it: `param weight: f32[out, inp] = zeros`"),
    (
        "register_buffer register_parameter",
        "declare it: `buffer count: i64 = 0`, `param weight: f32[n] = zeros`",
    ),
    (
        "parameters named_parameters state_dict",
        "leave it out: an optimizer has all parameters, or those that its path map names",
    ),
    ("DataLoader TensorDataset", "write `data = Digits(\"train\").shuffle(seed: 0).batch(64)`"),
    (
        "MNIST FashionMNIST CIFAR10 CIFAR100 ImageFolder datasets torchvision",
        "declare the data: `dataset NAME(split: str) { image: u8[28, 28] = idx(\"{split}-images-idx3-ubyte.gz\") }`",
    ),
    (
        "lr_scheduler StepLR CosineAnnealingLR OneCycleLR LinearLR scheduler",
        "hyper-parameters may be schedules: `sgd(lr: cosine(0.1))`",
    ),
    ("batch_size", "write `.batch(64)`"),
    ("CrossEntropyLoss", "losses are functions: `cross_entropy(logits, label)`"),
    ("MSELoss mse", "losses are functions: `mse_loss(x, y)`"),
    ("L1Loss", "losses are functions: `l1_loss(x, y)`"),
    ("NLLLoss", "losses are functions: `nll_loss(logp, label)`"),
    ("HuberLoss SmoothL1Loss smooth_l1_loss", "losses are functions: `huber_loss(x, y, delta: 1.0)`"),
    (
        "BCEWithLogitsLoss BCELoss binary_cross_entropy bce bce_loss",
        "losses are functions: `binary_cross_entropy_with_logits(x, y)`",
    ),
    ("KLDivLoss", "losses are functions: `kl_div(logp, target)`"),
    (
        "break continue",
        "loops are unrolled and have no exits: choose with `if` at compile time, or `where(c, a, b)`",
    ),
    ("super", "leave it out: members are declared in the model's body"),
    ("null nil", "write `None`"),
    ("num_epochs n_epochs max_epochs", "write `epochs = 3`"),
    ("criterion", "write `loss(x, label) { .. }`"),
];

/// Named arguments.
const ARGUMENTS: &[(&str, &str)] = &[
    ("dim dims", "axis"),
    ("keepdims", "keepdim"),
    ("learning_rate", "lr"),
    ("batch_size", "n"),
    ("inp input self", "x"),
    ("min_value", "min"),
    ("max_value", "max"),
];

/// What to write instead of a foreign name.
pub fn name(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|n| n.0.split(' ').any(|w| w == name)).map(|n| n.1)
}

/// What the parameter is called here that others call `name`.
pub fn argument(name: &str) -> Option<&'static str> {
    ARGUMENTS.iter().find(|n| n.0.split(' ').any(|w| w == name)).map(|n| n.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_the_library_is_called_foreign_and_none_stands_twice() {
        let mut seen = std::collections::HashSet::new();
        for word in NAMES.iter().flat_map(|n| n.0.split(' ')) {
            assert!(crate::build::doc(word).is_none(), "{word} is in the library");
            assert!(seen.insert(word), "{word} stands twice");
        }
        for (words, ours) in ARGUMENTS {
            assert!(words.split(' ').all(|w| w != *ours));
        }
    }
}
