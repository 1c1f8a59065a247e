//! Every diagnostic code with its meaning; the only list of codes. A test greps the sources and
//! holds that each code used is here and each code here is used.
//!
//! Ranges: E01 syntax, E02 types and shapes, E03 names and calls, E04 models, training and tests,
//! E05 devices and transfers, E06 autodiff and precision, E07 data and files, E08 run time, E09 usage,
//! E9999 a bug in mlc; W the same for warnings.

/// A code and what `mlc explain` says about it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub code: &'static str,
    /// A short noun phrase.
    pub title: &'static str,
    /// Plain Markdown: what it means, a smallest example, what to do.
    pub text: &'static str,
}

/// All entries, sorted by code.
pub const ENTRIES: &[Entry] = &[
    Entry {
        code: "E0101",
        title: "unexpected text",
        text: "The grammar does not allow what stands here. The label says what may stand there instead; the mistake is there or just before.\n\n```mlg\ny = relu(x 2)        // expected `)` or `,`\n```\nStatements end at the end of a line, except inside `()` and `[]`, after an operator, `=`, `<-` or comma, and before a line that begins with `.name`, `else`, `->` or `where`.",
    },
    Entry {
        code: "E0102",
        title: "unmatched bracket",
        text: "A bracket is never closed, closes nothing, or is closed by one of another kind. The labels show the bracket and the place where mlc noticed; in between, mlc goes by the indentation of `}`. Other mistakes after an unmatched bracket in the same item are not reported until it is fixed.",
    },
    Entry {
        code: "E0103",
        title: "unclosed string",
        text: "A string ends on the line where it begins:\n\n```mlg\nimage: u8[28, 28] = idx(\"images.gz)     // no closing quote\n```\nWrite `\\n` for a line break and `\\\"` for a quote in a string.",
    },
    Entry {
        code: "E0104",
        title: "too deep nesting",
        text: "Brackets and operators around one place, counted together, nest more than 256 levels deep. Give parts of the expression names of their own, or write a loop over a list.",
    },
    Entry {
        code: "E0105",
        title: "unreadable number or device",
        text: "A number is too large, has a unit that does not exist, or a device has an index that is no small number. Integers go up to 9223372036854775807 and may have `_` between digits; memory sizes end in `KiB`, `MiB`, `GiB` or `TiB`; devices are `cpu`, `cuda`, `cpu:1`, `cuda:3`.",
    },
    Entry {
        code: "E0106",
        title: "unreadable string",
        text: "A string holds an escape that does not exist, or braces around something that is no name. The escapes are `\\n \\t \\\" \\\\ \\{ \\}`. `{name}` stands for a compile-time value:\n\n```mlg\nimage: u8[28, 28] = idx(\"mnist/{split}-images.gz\")\n```",
    },
    Entry {
        code: "E0107",
        title: "chained comparison",
        text: "Comparisons and ranges do not chain: `a < b < c` would compare a bool with `c`. Write `a < b and b < c`, or put one comparison in parentheses if that is meant.",
    },
    Entry {
        code: "E0108",
        title: "another language's syntax",
        text: "This is how Python or another language writes it. Common ones:\n\n```mlg\nfn f(x) { x + 1 }            // def f(x): return x + 1\nfc1(x)                       // self.fc1(x)\nsum(x, axis: -1)             // sum(x, axis=-1)\nif a { b } else { c }        // b if a else c\na and not b                  // a && !b\n```\nThere are no lambdas, brace literals, decorators, `return`, `*args` or `+=`.",
    },
    Entry {
        code: "E0109",
        title: "not a place",
        text: "The left side of `=` or `<-` is a name, a member (`a.b`) or one of those with one index (`x[.., 0]`); several places are separated by commas without parentheses. `<-` writes one state at a time.",
    },
    Entry {
        code: "E0110",
        title: "mixed path map",
        text: "A list with a `:` in it is a path map, and then each of its entries is: one or more globs in strings, then a value.\n\n```mlg\noptimizer = [\"**.bias\", \"**.norm*.*\": sgd(lr: 0.1), \"**\": adam(lr: 1e-3)]\n```",
    },
    Entry {
        code: "E0111",
        title: "not a source text",
        text: "The file is no UTF-8 text, is larger than 1 GiB or has an item larger than 512 KiB, so it cannot be a .mlg file. Save it as UTF-8, and check that the path names the file you mean.",
    },
    Entry {
        code: "E0201",
        title: "dims that do not match",
        text: "Two dims that must be equal are not, or are not for every size that the signature allows; the note then gives sizes for which they differ.\n\nOnly a dim of 1 stretches to match another. Check which side has the wrong layout (`transpose`, `reshape`, `unsqueeze`), or state the condition as a fact of the signature: `where h % 4 == 0`.",
    },
    Entry {
        code: "E0202",
        title: "axis out of range",
        text: "An axis is not one of the tensor's. Axes count from 0; negative ones count from the end, so `-1` is the last.",
    },
    Entry {
        code: "E0203",
        title: "dtype that does not fit",
        text: "An operation got a dtype that it does not take, or two that differ. Integers and floats never mix by themselves: write `x.cast(f32)` where the conversion should happen.",
    },
    Entry {
        code: "E0204",
        title: "reshape of another number of elements",
        text: "A reshape keeps the number of elements. One of the new dims may be -1, which stands for what is left over.",
    },
    Entry {
        code: "E0205",
        title: "slice or pad out of range",
        text: "Slices never clamp: `x[a:b]` needs 0 <= a <= b <= the dim. Where the bounds depend on dims, state the condition as a fact: `where time <= limit`.",
    },
    Entry {
        code: "E0206",
        title: "tensors that cannot be joined",
        text: "`concat` and `stack` take at least one tensor, all of one dtype and rank, whose other dims are equal.",
    },
    Entry {
        code: "E0207",
        title: "reduction of an axis that may be empty",
        text: "`max`, `min`, `argmax` and `argmin` have no value for an empty axis. State that it is not: `where n >= 1`.",
    },
    Entry {
        code: "E0208",
        title: "dim without a value",
        text: "A dim name of the entry has no number when the entry is to run. Data and inputs bind the names in their types; a name that occurs in neither needs `--dim NAME=N`.",
    },
    Entry {
        code: "E0209",
        title: "dim value not allowed",
        text: "A value bound to a dim breaks a fact about it: a `where` clause (`where h % 8 == 0`), the rule that dims are not negative, or a least size.\n\nThe message shows the fact and the values. Bind other sizes (`--dim h=64`), or change the data or the model so that the fact holds.",
    },
    Entry {
        code: "E0210",
        title: "tensor too large",
        text: "With the sizes bound to its dims a tensor would take more than 1 TiB, or its size does not fit 64-bit integers. Such a size is a mistake: a wrong `--dim`, or a product of dims where a sum was meant.",
    },
    Entry {
        code: "E0211",
        title: "compile-time arithmetic that does not come out",
        text: "A compile-time integer is needed and there is a fraction, the arithmetic leaves 64 bits, divides by zero, or takes the root or logarithm of a number that has none.\n\n```mlg\nmodel Attention(dim: int, heads: int) {\n    qkv = Linear(dim, dim / heads)      // dim must be a multiple of heads\n}\n```\nWhere a quotient depends on dims that are bound later, state that it is exact: `where dim % heads == 0`. `floor_div(a, b)` rounds down.",
    },
    Entry {
        code: "E0212",
        title: "number that the dtype cannot hold",
        text: "A number in the program takes the dtype of the tensor it meets, if that can hold it: `image / 255` divides floats by 255.0, but a `u8` cannot hold 300, an integer no 0.5, and an `f16` nothing beyond 65504.\n\nCast the tensor first: `image.cast(f32) * 0.5`.",
    },
    Entry {
        code: "E0213",
        title: "`where` fact that does not hold",
        text: "The facts after `where` are conditions on dims that callers must meet:\n\n```mlg\nforward(x: f32[batch, time]) where time % 2 == 0 { .. }\n```\nThe message shows the values for which it fails. State the same fact on the calling method, or change the sizes.",
    },
    Entry {
        code: "E0214",
        title: "axes of a formula",
        text: "The formula of `einsum` or the pattern of `rearrange` does not fit its tensors: it names another number of axes, an axis on one side only, or leaves a size open.\n\n```mlg\neinsum(\"bhqd,bhkd->bhqk\", q, k)\nrearrange(x, \"b t (h d) -> b h t d\", h: heads)\n```",
    },
    Entry {
        code: "E0301",
        title: "unknown name",
        text: "Nothing of this name can be seen here. Names are looked up among locals and parameters, dims of the signature, members and methods, config, the file, files used without `as`, and the library; `mlc doc` lists the library.",
    },
    Entry {
        code: "E0302",
        title: "name declared twice",
        text: "Two items of a file, members of a model, parameters or bindings of a train block have one name. Rename one of them.",
    },
    Entry {
        code: "E0303",
        title: "unknown member or method",
        text: "The value before the dot has no such member, method or property. Tensors have `.shape` and `.dtype`; `x.f(..)` means `f(x, ..)`, so every fn can be called like a method.",
    },
    Entry {
        code: "E0304",
        title: "binding defined by itself",
        text: "The value of a binding needs the binding itself, directly or through others. Bindings of a file may stand in any order, but not in a circle.",
    },
    Entry {
        code: "E0305",
        title: "value of another kind",
        text: "A value of one kind stands where another is needed: a number for a tensor, a tensor for a list, a string for an integer. The message names both.",
    },
    Entry {
        code: "E0306",
        title: "destructuring of another length",
        text: "`a, b = value` takes a tuple or a compile-time list of exactly as many values. A tensor is taken apart with `.unstack(axis: 0)`, `.chunk(n, axis: ..)` or `.split(sizes, axis: ..)`.",
    },
    Entry {
        code: "E0307",
        title: "assignment to what cannot be assigned",
        text: "State (`param`, `buffer`, an optimizer's `state`) is written with `<-` by the methods of its owner, locals are bound with `=`, and members of other values are fixed:\n\n```mlg\nrunning <- 0.9 * running + 0.1 * mean(x)\n```",
    },
    Entry {
        code: "E0308",
        title: "arguments that do not fit",
        text: "A call gives too many arguments, leaves one out, names one that does not exist, or gives one twice. Positional arguments come first, named ones after: `sum(x, axis: -1)`. `mlc doc NAME` shows the parameters.",
    },
    Entry {
        code: "E0309",
        title: "call of what cannot be called",
        text: "Only fns, methods, models, model instances, datasets, optimizers and schedules can be called.",
    },
    Entry {
        code: "E0310",
        title: "files that use each other",
        text: "A file uses itself, directly or through others. Move what both need into a third file.",
    },
    Entry {
        code: "E0311",
        title: "path of `use`",
        text: "The path of `use` is plain text without `{..}`: files are found before anything is evaluated. It starts at the folder of the file it stands in.",
    },
    Entry {
        code: "E0312",
        title: "value not known at compile time",
        text: "A size, a condition of `if`, the bounds of `for` or a config argument must be known when the program is built. Run-time choices between values are `where(c, a, b)`; run-time loops are `scan` and `while`.",
    },
    Entry {
        code: "E0313",
        title: "program too large to build",
        text: "The program needs too many nodes, calls inside calls, list elements or characters. `for` is unrolled: a loop over a million elements is a million copies. Use tensor operations over an axis.",
    },
    Entry {
        code: "E0314",
        title: "`expect` outside a test",
        text: "Expectations stand in test blocks:\n\n```mlg\ntest \"shapes\" {\n    net = SimpleNN()\n    expect net(zeros(f32[2, 784])).shape == [2, 10]\n}\n```",
    },
    Entry {
        code: "E0315",
        title: "recursion",
        text: "A fn, method, model or schedule needs itself. Calls are inlined when the program is built, so there is no recursion; write a loop over a list.",
    },
    Entry {
        code: "E0316",
        title: "random sites with one key",
        text: "Random numbers are keyed by a hash of their place in the program, and two places have the same one. This is very rare: rename a member, a loss or a method on one of the paths.",
    },
    Entry {
        code: "E0317",
        title: "error of the library or the program",
        text: "A fn called `error(\"..\")`: its arguments are not what it can work with. The message is the fn's own.",
    },
    Entry {
        code: "E0318",
        title: "entry without a value",
        text: "A method or fn that can be run must end with the expression that is its result.",
    },
    Entry {
        code: "E0319",
        title: "a run-time loop that changes a type",
        text: "A `scan` carries the names bound outside that its body assigns, from trip to trip. What it carries keeps its dtype and shape, and is a tensor, a number, or a list or tuple of these:\n\n```mlg\nh = zeros(f32[batch, dim])\nscan x in xs, axis: 1 { h = tanh(wx(x) + wh(h)) }\n```\nA number bound before the loop is a scalar (`0` is an i64, `0.0` an f32). Begin with a value of the type that the body gives, or cast in the body.",
    },
    Entry {
        code: "E0403",
        title: "two states of one name",
        text: "Parameters, buffers and optimizer states are named by the path of members that leads to them, and two have the same path. This happens where instances are built in two lists of one call, which both count from 0. Give the lists bindings of their own.",
    },
    Entry {
        code: "E0404",
        title: "declaration of state",
        text: "A `param` or `buffer` needs a tensor type whose dims are known when the model is built, and an initial value:\n\n```mlg\nparam weight: f32[out, inp] = kaiming_uniform(a: sqrt(5))\nbuffer count: i64 = 0\n```\nParams are floats. Initialisers are names such as `zeros`, `normal(std: 0.02)`, or a number.",
    },
    Entry {
        code: "E0405",
        title: "setting of a train block",
        text: "An argument of `ema`, `patience`, `best`, `mixed` or a data source is missing or out of its range; the message says which.",
    },
    Entry {
        code: "E0406",
        title: "binding of a train block",
        text: "One of the bindings that a train block knows has a value of another kind:\n\n```mlg\nmodel     = SimpleNN()\ndata      = Digits(\"train\").shuffle(seed: 0).batch(64)\noptimizer = sgd(lr: 0.1)\nepochs    = 3\n```",
    },
    Entry {
        code: "E0407",
        title: "unused name in a train block",
        text: "A binding that is no setting of train blocks must be used by a loss, metric, fn or another binding, or be a model with state. Mostly it is a slip in the name of a setting.",
    },
    Entry {
        code: "E0408",
        title: "train block without a needed binding",
        text: "A block with a loss needs `model` (or instances of other names), `optimizer`, and `data` or `steps`.",
    },
    Entry {
        code: "E0409",
        title: "pattern that matches nothing",
        text: "A pattern of a path map matches no path, or only paths that an earlier pattern has taken: the first match wins. `*` is any run of characters inside one segment, `**` any run of characters. `mlc check` prints all parameters.",
    },
    Entry {
        code: "E0410",
        title: "path without a pattern",
        text: "A path map must say something about every path. End it with `\"**\": ..` for the rest.",
    },
    Entry {
        code: "E0411",
        title: "unknown metric",
        text: "`patience(max: ..)` and `best(.., max: ..)` name a metric or loss of the block, judged on the data of `validate`.",
    },
    Entry {
        code: "E0412",
        title: "unknown target of a loss",
        text: "`loss NAME(..) updates TARGET` takes instances bound in the block, or patterns over parameter paths in quotes.",
    },
    Entry {
        code: "E0413",
        title: "unknown field",
        text: "The parameters of losses and metrics are fields of the block's data, by name and in any order. `validate` must have the same fields.",
    },
    Entry {
        code: "E0414",
        title: "value of a loss or metric",
        text: "A loss is one float: reduce it with `mean(..)` or `sum(..)`. A metric is a number or a tensor, whose elements are averaged.",
    },
    Entry {
        code: "E0415",
        title: "loss that trains nothing",
        text: "The loss depends on none of the parameters that it updates, so no step could change anything. It must be computed from the output of a model that is trained.",
    },
    Entry {
        code: "E0416",
        title: "optimizer without update",
        text: "An optimizer declares how one parameter changes:\n\n```mlg\noptimizer plain(lr: f32) {\n    update(param, grad, step) { param - lr * grad }\n}\n```",
    },
    Entry {
        code: "E0417",
        title: "expectation",
        text: "`expect` takes a condition: a compile-time one (`net(x).shape == [2, 10]`), a bool tensor all of whose elements must be true, `gradcheck(net, x)`, or an upper bound of a figure (`kernels(net.forward) <= 3`, `peak(train) <= 2GiB`).",
    },
    Entry {
        code: "E0418",
        title: "model built where it has no owner",
        text: "A model's parameters need an owner and a path, so models are built in members, config arguments, and bindings of files, train and test blocks:\n\n```mlg\nmodel Net {\n    fc = Linear(3, 4)            // here\n    forward(x: f32[n, 3]) { fc(x) }   // not here\n}\n```",
    },
    Entry {
        code: "E0419",
        title: "config argument",
        text: "Config is what a model is built from: integers, numbers, bools, strings, fns, models and lists of these, all known at compile time. Tensors are arguments of `forward`.",
    },
    Entry {
        code: "E0480",
        title: "no validation data",
        text: "Evaluating a train block needs `validate = ..` data in it.",
    },
    Entry {
        code: "E0481",
        title: "a run without an end",
        text: "A train block says how long to train by `epochs = ..` or `steps = ..`; without data only `steps` has a meaning. `--steps` and `--epochs` replace both.",
    },
    Entry {
        code: "E0499",
        title: "not built yet",
        text: "This is part of the language, but this version of mlc does not build it. `mlc check` goes on to find other mistakes.",
    },
    Entry {
        code: "E0501",
        title: "implicit transfer",
        text: "Under `transfers explicit` a value is used on another device than the one it is computed on, and no `.to(device)` says so. The labels show both places.\n\nWrite the crossing down (`x.to(right)`), move one side, or drop `transfers explicit`, so that the compiler inserts and reports transfers.",
    },
    Entry {
        code: "E0502",
        title: "more transfers than allowed",
        text: "The file says `transfers <= n per step`, and a step has more. Each label is one crossing, with its bytes; forward crossings and their backward ones count, inputs, data and results do not. Put what exchanges values on one device, or raise the limit.",
    },
    Entry {
        code: "E0510",
        title: "no device",
        text: "A device is `cpu`, `cpu:N`, `cuda`, `cuda:N`, or a name that a `device` item declares:\n\n```mlg\ndevice left = cuda:0\n```",
    },
    Entry {
        code: "E0520",
        title: "a plan above the memory limit",
        text: "The exact peak of the entry's plan is above `--memory-limit`, also where values of the forward are computed again in the backward instead of being kept. The notes list the parts of the peak, the values alive at it with the lines that compute them and read them last, and values that could not be overwritten because something reads them again; the labels show the largest. The hint names the largest batch whose plan fits: a smaller batch makes inputs and intermediate values smaller (`accumulate = k` keeps the update the same); parameters and optimizer state depend on the model alone. See docs/memory.md.",
    },
    Entry {
        code: "E0590",
        title: "a device that is not there",
        text: "The target, or a device that the file names, cannot be used on this machine or by this build. `mlc devices` lists what there is and what was looked for.\n\n`--target cpu` runs the same file on the CPU; a program for several devices runs on logical CPUs: `--device cuda:0=cpu:0 --device cuda:1=cpu:1`.",
    },
    Entry {
        code: "E0601",
        title: "gradient of what is not a float scalar",
        text: "`grad(y, x)` differentiates a scalar. Reduce y first: `grad(sum(y), x)` or `grad(mean(y), x)`.",
    },
    Entry {
        code: "E0602",
        title: "gradient by what is not a float",
        text: "Only floats can be differentiated by. Cast before the binding that you differentiate by.",
    },
    Entry {
        code: "E0603",
        title: "gradient by a value that the result does not depend on",
        text: "In `grad(y, x)` nothing that y is computed from is x, so the derivative is zero everywhere, which is hardly meant. `grad` differentiates by the *binding* x: after `z = x * 1`, a y made from x does not depend on z. Compute y from x itself, or differentiate by the binding that y is made from.",
    },
    Entry {
        code: "E0604",
        title: "gradient by a value that reaches the result where no derivative passes",
        text: "Every way from x to y leads through something without a derivative: an index (`argmax`), a comparison, a cast to integers, or `stop_gradient`. Replace it by something smooth (a `softmax` instead of an `argmax`), or drop the `grad`. A step such as `floor` or `round` is no error: its derivative is 0, as in PyTorch.",
    },
    Entry {
        code: "E0605",
        title: "an op that cannot be differentiated",
        text: "A derivative is needed through an op that has none that could be computed; the label says why. Take its operand for a constant with `stop_gradient(..)`, or write the computation in another way.",
    },
    Entry {
        code: "E0701",
        title: "unreadable file",
        text: "The file is not there, is a folder, or may not be read. Paths of sources are relative to the file that holds the `dataset` item, `weights` and `save` to the train block's file, and paths on the command line to the working directory. The note names the first folder that does not exist. In `bytes(..)`, `*` and `?` stand for parts of a name and `**` for any folders; at least one file must match.",
    },
    Entry {
        code: "E0702",
        title: "damaged data file",
        text: "The file is not what its format asks for: a wrong first byte, a header that contradicts itself, too few bytes (the file was cut off), or bytes after the end. Nothing of it is used. Fetch or write the file again; if another program wrote it, check that it wrote this format and not one that shares its extension.",
    },
    Entry {
        code: "E0703",
        title: "unsuitable file format",
        text: "mlc tells a file's format by its name (.npy, .npz, .safetensors; .idx, .csv and .txt are read too), and this one's name says nothing, or its format cannot hold what is asked for: several arrays need .npz or .safetensors, and text is u8.",
    },
    Entry {
        code: "E0704",
        title: "element type without a dtype",
        text: "The file's elements have a type that mlc has none for (complex, strings, 8-bit floats), or the array's dtype has no place in the file format: NumPy files cannot hold bf16. Save the array as one of bool, u8, i8, i16, i32, i64, f16, f32, f64, or write .safetensors. Unsigned 16-bit integers are read as i32.",
    },
    Entry {
        code: "E0705",
        title: "missing key or column",
        text: "The archive has no array, or the table no column, of that name; the note lists what is there. A key may be left out only where the archive holds exactly one array.",
    },
    Entry {
        code: "E0706",
        title: "dtype of a field",
        text: "The file's elements are not of the declared dtype. Reading never converts, for what a file holds decides what crosses to the device:\n\n```mlg\nlabel: u8 = idx(\"labels.gz\")     // not i64, if the file holds bytes\n```\nDeclare what the file holds and cast where it is used: `label.cast(i64)`.",
    },
    Entry {
        code: "E0707",
        title: "dims of a field",
        text: "The file's shape is not the declared one. A field declares one sample; the file's first axis counts the samples. So `image: u8[28, 28]` reads a file of shape `[60000, 28, 28]`. A `shared` field declares the whole array.",
    },
    Entry {
        code: "E0708",
        title: "fields of unequal lengths",
        text: "Every sample has a value of every field, so the sources of a dataset must be equally long. The labels name the files and their lengths. `shared` fields are whole arrays and may have any length.",
    },
    Entry {
        code: "E0709",
        title: "dim with two sizes",
        text: "A named dim in field types is bound by the files, and two fields bind it to different sizes. Either a file is the wrong one, or the dims are different things and need different names.",
    },
    Entry {
        code: "E0710",
        title: "bad cell in a table",
        text: "A cell of a csv file is empty or not a value of the field's dtype; the message names line and column. Bools are `true`, `false`, `1`, `0`; integers have no decimal point.",
    },
    Entry {
        code: "E0711",
        title: "out of memory for data",
        text: "The array or batch does not fit into this machine's memory. Use smaller batches, fewer samples (`.take`), or a smaller dtype. Uncompressed files of 1 MiB and more are mapped, not read, and need no memory of their own.",
    },
    Entry {
        code: "E0712",
        title: "unwritable file",
        text: "The file could not be written: no permission, no space, no such folder. Files are written under another name and then renamed, so that what was there before is still there and whole.",
    },
    Entry {
        code: "E0713",
        title: "no samples",
        text: "The dataset is empty, or `.skip`, `.take` and `.batch(.., drop_last: true)` leave no batch of it.",
    },
    Entry {
        code: "E0714",
        title: "index of a source",
        text: "`npy(\"edges.npy\")[2]` takes the third part along the first axis, and the array has fewer. Negative indices count from the end.",
    },
    Entry {
        code: "E0715",
        title: "source not built yet",
        text: "This source is part of the language but not of this version. Convert the files to one array and read it with `npy(..)`.",
    },
    Entry {
        code: "E0716",
        title: "bad argument of a source or pipeline",
        text: "Windows, strides and batches are at least 1, `random(..)` needs bounds between which the dtype has values and dims that are numbers, a shuffle orders at most 4294967295 samples, and zipped datasets have no field name in common.",
    },
    Entry {
        code: "E0717",
        title: "field fed by the caller",
        text: "A field without a source gets its values from the program that calls the step. `mlc run` has nobody to ask: give the field a source, or the whole data as an option (`--input x=FILE.npy`), or embed mlc and pass each batch to `train_step`.",
    },
    Entry {
        code: "E0718",
        title: "cannot resume in the data",
        text: "The checkpoint's place in the data lies beyond the end of an epoch, so the data or the batch size are not those of the run that was saved. Resume with the same, or start anew from the saved weights (`--weights`).",
    },
    Entry {
        code: "E0719",
        title: "no thread",
        text: "The system refused a thread for reading data. The limit on processes or threads (`ulimit -u`) is too low.",
    },
    Entry {
        code: "E0720",
        title: "the log cannot be written",
        text: "The file given to `--log` cannot be opened or written: its folder is missing, read-only or full.",
    },
    Entry {
        code: "E0721",
        title: "the checkpoint folder cannot be made",
        text: "The folder given to `--checkpoint` does not exist and cannot be made.",
    },
    Entry {
        code: "E0722",
        title: "not a checkpoint",
        text: "`--resume` needs a folder that `--checkpoint` wrote. A file of weights alone can be given to `--weights`.",
    },
    Entry {
        code: "E0723",
        title: "a checkpoint of another model",
        text: "The states in the checkpoint are not those of this model; the notes list each difference. Nothing was loaded. To start from weights of a similar model, use `--weights` with a file that `--save` wrote.",
    },
    Entry {
        code: "E0724",
        title: "weights that do not fit the model",
        text: "Tensors of the weights file are missing, extra, or have another shape or dtype than the model's parameters and buffers; the notes list all of them. Nothing was loaded. `mlc check FILE` prints the model's names; they are PyTorch's.",
    },
    Entry {
        code: "E0730",
        title: "field of a dataset",
        text: "A field has a tensor type whose dims are numbers or names, and a source (or none, where the caller feeds it):\n\n```mlg\ndataset Digits(split: str) {\n    image: u8[28, 28] = idx(\"mnist/{split}-images-idx3-ubyte.gz\")\n}\n```\nThe first axis of a source counts samples and is not part of the type, except for `shared` fields.",
    },
    Entry {
        code: "E0731",
        title: "order of a data pipeline",
        text: "The stages of a pipeline are `.skip(n)`, `.take(n)`, `.shuffle(seed: s)`, `.batch(n)`, each at most once and in this order. Skipping or taking after a shuffle would let training and validation samples mix.",
    },
    Entry {
        code: "E0740",
        title: "not an artifact",
        text: "The file does not begin as artifacts do. `mlc run` takes a file for an artifact where its name ends in `.mlgx`. Make one from a source:\n\n```sh\nmlc compile model.mlg --target cpu -o model.mlgx\n```",
    },
    Entry {
        code: "E0741",
        title: "damaged artifact",
        text: "The artifact is shorter or longer than its header says, or its bytes are not the ones whose checksum stands in it: it was cut off or changed since it was written. Nothing of it was used. Copy it again, or compile it again.",
    },
    Entry {
        code: "E0742",
        title: "artifact of another mlc",
        text: "An artifact holds plans and machine code as one build of mlc makes and runs them; another build, older or newer, does not read it. `mlc --version` names a build. Compile the artifact again with the build that is to run it: the message names the command.",
    },
    Entry {
        code: "E0743",
        title: "artifact for another machine",
        text: "The code in the artifact is for another kind of machine or device, or uses instructions that this CPU does not have (or that the variable `MLC_CPU_FEATURES` forbids). Compile the artifact on the machine that is to run it, or on a better one for less:\n\n```sh\nMLC_CPU_FEATURES=avx2 mlc compile model.mlg --target cpu -o model.mlgx\n```\nLevels are `portable`, `avx2` and `avx512`; results are the same on each.",
    },
    Entry {
        code: "E0744",
        title: "not in the artifact",
        text: "An artifact runs the entries that it was compiled for, with the sizes that it was compiled for, and nothing else: running it compiles nothing. The message lists the sizes that it has. List all that are wanted when it is made:\n\n```sh\nmlc compile model.mlg --target cpu --dim batch=1,64 -o model.mlgx\n```\nGraphs, loops and tests are not in it either: `mlc check`, `test`, `explain` and `compile` want the source.",
    },
    Entry {
        code: "E0801",
        title: "index out of range",
        text: "An index that comes from data (a label, a token id, an argument of `gather`) lies outside its axis. The run went on with the nearest valid element, so that no memory was touched that should not be; its results are not to be used. The label shows the line that indexes. Usual causes: labels that start at 1, a vocabulary larger than the embedding, padding ids such as -1.",
    },
    Entry {
        code: "E0802",
        title: "out of memory",
        text: "The system refused the memory that the plan needs. The sizes are known before anything runs: `mlc check` prints them by part. A smaller batch, `remat` or lower precision need less.",
    },
    Entry {
        code: "E0803",
        title: "code generation failed",
        text: "The machine-code generator refused a kernel or this machine: an instruction set that mlc cannot emit for, or a limit of the generator. The message names the kernel.",
    },
    Entry {
        code: "E0804",
        title: "instruction set not available",
        text: "The environment variable `MLC_CPU_FEATURES` names the highest instruction set that CPU code may use: `portable`, `avx2` or `avx512`. It can only lower what the machine has; `mlc devices` lists that. Results are the same on every level, only the time differs.",
    },
    Entry {
        code: "E0810",
        title: "a failed expectation",
        text: "An `expect` of a `test` block is false, a figure of a plan is above its bound, or a derivative differs from finite differences. The label shows which; the note, where there is one, the values.",
    },
    Entry { code: "E0901", title: "not a target", text: "Targets are `auto`, `cpu`, `cuda` and `cuda:N`." },
    Entry {
        code: "E0902",
        title: "no such result",
        text: "A call returns its results by name: `out`, or `out0`, `out1`, .. for a tuple; each has one dtype.",
    },
    Entry {
        code: "E0903",
        title: "no such entry",
        text: "Entries are the methods and fns whose parameters are all annotated, and `step` and `validate` of each train block. The note lists them; `mlc check FILE` shows their types. An artifact has those that it was compiled with; training needs all of a block's.",
    },
    Entry { code: "E0904", title: "no such input", text: "Inputs are named as the entry's parameters are." },
    Entry {
        code: "E0905",
        title: "no train block",
        text: "Training needs a `train { .. }` block in the file.",
    },
    Entry {
        code: "E0906",
        title: "no such state, or another type",
        text: "Parameters, buffers and other states are named by their path, as `mlc check` lists them.",
    },
    Entry {
        code: "E0907",
        title: "missing input",
        text: "Every parameter of an entry needs a value: `--input NAME=FILE`, or `--random-inputs`.",
    },
    Entry {
        code: "E0908",
        title: "input of another type",
        text: "What is fed must have the declared dtype, rank and dims. Nothing is converted by itself: save the array in the declared dtype, or declare what the file holds and cast in the program.",
    },
    Entry {
        code: "E0909",
        title: "dim that is bound already",
        text: "`--dim` is for dims that neither data nor inputs bind.",
    },
    Entry {
        code: "E0910",
        title: "dim that is not bound",
        text: "The entry has a dim whose size nothing says: bind it with `--dim NAME=N`.",
    },
    Entry {
        code: "E0911",
        title: "not something to emit",
        text: "`--emit` prints ast, graph, graph=STAGE, loops, clif, asm or plan; stages are built, placed, differentiated, bound and decomposed.",
    },
    Entry {
        code: "E0912",
        title: "an option that does not make sense",
        text: "The value of a command-line option is not of its form; the message says what is. `mlc help COMMAND` lists all options.",
    },
    Entry {
        code: "E0913",
        title: "an entry that is not clear",
        text: "The file has several things that could run. Name one: a train block, `NAME.validate`, or a method. The note lists them.",
    },
    Entry {
        code: "E0914",
        title: "no such dim",
        text: "`--dim` binds dims by the names that the entry's parameters introduce, and its `int` parameters. The note lists them; a dim of the batch is called `batch` unless `.batch(n, dim: other)` says otherwise.",
    },
    Entry {
        code: "E0915",
        title: "nothing of this name",
        text: "`mlc doc` lists the library, `mlc explain` knows the codes of diagnostics and the words fusion, precision and transfers. `--model` names a model of the file, `--device` one of its `device` items or a device as written (`cuda:1`).",
    },
    Entry {
        code: "E0916",
        title: "not built yet",
        text: "This part of mlc is planned but not there yet. The hint says what to use instead.",
    },
    Entry {
        code: "E9999",
        title: "internal compiler error",
        text: "mlc found that it broke one of its own rules. Your model may be fine. Please report the message, the .mlg file and `mlc --version`.",
    },
    Entry {
        code: "W0101",
        title: "a comment that looks like a division",
        text: "`//` begins a comment, so that `h = dim // 2` is `h = dim`. Whole division is `floor_div(a, b)`; dims and compile-time integers divide with `/`, which must come out. For a comment of one word put two blanks before it.",
    },
    Entry {
        code: "W0301",
        title: "unused binding",
        text: "A local is bound and nothing reads it. Remove it, or begin its name with `_` where a value must be named and is not needed.",
    },
    Entry {
        code: "W0701",
        title: "weights converted",
        text: "Tensors of the weights file had another float dtype than their parameters and were converted.",
    },
    Entry {
        code: "W0702",
        title: "data that is not there",
        text: "`mlc check` found no file where a dataset names one, so it could not check the file's types and lengths. `mlc run` needs the file. Paths start at the folder of the file that holds the `dataset`.",
    },
    Entry {
        code: "W0801",
        title: "a loss that is not finite",
        text: "The loss became NaN or infinite at this step. Mostly the learning rate is too high; `clip_norm = 1.0` also helps. A division by zero or a `log` of zero does the same.",
    },
    Entry {
        code: "W0901",
        title: "a table of costs that is not used",
        text: "`mlc devices --calibrate` keeps what it measured in a file in the user's cache folder. This file is damaged, or was made on another CPU or by another build, so the built-in table is used. Results are the same; only how kernels are cut into chunks and tiles, and so their speed, depends on the table. Measure again, or delete the file.",
    },
];

/// Looks a code up, in any letter case.
pub fn find(code: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|e| e.code.eq_ignore_ascii_case(code))
}

/// The whole catalogue as a Markdown page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Diagnostics\n\nEvery code with its meaning; `mlc explain CODE` prints one. Generated by `cargo xtask docs`.\n",
    );
    for e in ENTRIES {
        page.push_str(&format!("\n## {}: {}\n\n{}\n", e.code, e.title, e.text));
    }
    page
}
