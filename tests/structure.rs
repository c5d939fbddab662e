//! Rules about the sources that the compiler does not know: who may name what, and which way
//! imports point. Comments, strings and unit tests are left out of account.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path below `src`, its text, and its code.
struct Source {
    path: String,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                let text = fs::read_to_string(&path).unwrap();
                let code = without_tests(&code_of(&text));
                sources.push(Source { path: name, text, code });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.iter().any(|s| s.path == "data/task/echo.rs"), "src/ was not read");
    sources
}

/// `text` with comments and what stands between quotes blanked, lines kept.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").unwrap() + 2
        } else if first == '"' {
            1 + string_length(&rest[1..], '"')
        } else if first == '\'' && is_char(rest) {
            1 + string_length(&rest[1..], '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

/// Whether a character starts here, and not a lifetime.
fn is_char(rest: &str) -> bool {
    let mut next = rest.chars().skip(1);
    next.next() == Some('\\') || next.next() == Some('\'')
}

/// The length of a literal up to and including the quote that closes it.
fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices() {
        if c == quote && !escaped {
            return i + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// `code` without its modules of tests, lines kept.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let module =
            lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        inside |= line == "#[cfg(test)]" && module;
        kept.push_str(if inside { "" } else { line });
        kept.push('\n');
        inside &= line != "}";
    }
    kept
}

/// Whether `line` has `word` with no letter of a longer name before it.
fn has(line: &str, word: &str) -> bool {
    let ends_name = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(i, _)| !ends_name(&line[..i]))
}

/// Whether `line` names something of the crate `name`.
fn names_crate(line: &str, name: &str) -> bool {
    has(line, &format!("{name}::")) || has(line, &format!("use {name};"))
}

/// Fails with every line of the files where `rule` holds that is `wrong`, and with what to do.
fn forbid(rule: impl Fn(&str) -> bool, wrong: impl Fn(&str) -> bool, what_to_do: &str) {
    let mut found = String::new();
    for source in sources().iter().filter(|source| rule(&source.path)) {
        for (i, line) in source.code.lines().enumerate().filter(|(_, line)| wrong(line)) {
            found += &format!("\n  src/{}:{}: {}", source.path, i + 1, line.trim());
        }
    }
    assert!(found.is_empty(), "{what_to_do}{found}");
}

/// The room that the file belongs to: its folder below `src`, or itself.
fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or(path)
}

fn names_libtorch(line: &str) -> bool {
    names_crate(line, "tch") || names_crate(line, "torch_sys") || has(line, "Tensor")
}

fn outside<'a>(allowed: &'a [&str]) -> impl Fn(&str) -> bool + 'a {
    move |path| !allowed.contains(&path)
}

#[test]
fn only_device_rs_names_a_device() {
    forbid(
        outside(&["tensor/device.rs"]),
        |line| has(line, "Device::"),
        "take the device as an argument, or add what is missing to src/tensor/device.rs:",
    );
    // These two tell what is installed, and choose nothing.
    forbid(
        outside(&["tensor/device.rs", "base/versions.rs", "commands/doctor.rs"]),
        |line| has(line, "Cuda::"),
        "ask src/tensor/device.rs about CUDA:",
    );
}

#[test]
fn only_the_command_line_names_clap() {
    forbid(
        |path| room(path) != "cli",
        |line| names_crate(line, "clap"),
        "hand a Config or plain values on from src/cli:",
    );
}

#[test]
fn only_curves_rs_names_the_csv_library() {
    forbid(
        outside(&["run/curves.rs"]),
        |line| names_crate(line, "csv"),
        "write rows through curves::CsvFile:",
    );
}

#[test]
fn only_the_page_of_runs_knows_html() {
    forbid(
        |path| !path.starts_with("reports/html/"),
        |line| names_crate(line, "askama"),
        "show runs in a browser through src/reports/html:",
    );
}

#[test]
fn only_exports_know_the_formats_of_other_programs() {
    forbid(
        |path| !path.starts_with("export/") && !path.starts_with("reports/tensorboard/"),
        |line| names_crate(line, "prost") || names_crate(line, "crc32c"),
        "write for other programs through src/export or src/reports/tensorboard:",
    );
}

/// So that no link is followed in a run, no pipe opened, and nothing written into another's directory.
#[test]
fn only_directory_rs_opens_and_changes_the_files_of_a_run() {
    let ways = ["File::open", "File::create", "File::options", "OpenOptions", "fs::"];
    // A user's files, what the system tells of itself, and which runs there are.
    let others = [
        "base/input.rs",
        "train/memory/available.rs",
        "tensor/device.rs",
        "reports/reproduction/mod.rs",
    ];
    forbid(
        |path| path != "files/directory.rs" && !others.contains(&path),
        |line| ways.iter().any(|way| has(line, way)) && !line.starts_with("use std::fs::"),
        "open and change files through src/files/directory.rs:",
    );
}

#[test]
fn what_is_above_the_tensors_names_none() {
    let pure = [
        "cli",
        "run/",
        "config/",
        "resolve/",
        "files/",
        "base/",
        "data/task/",
        "optim/learning_rate",
        "model/mod",
    ];
    forbid(
        |path| {
            pure.iter().any(|place| path.starts_with(place))
                && !["base/error.rs", "base/versions.rs"].contains(&path)
        },
        names_libtorch,
        "keep tensors out of this file; ids and numbers become tensors through src/tensor/device.rs:",
    );
}

#[test]
fn the_arithmetic_of_the_fused_engine_names_no_tensor() {
    let of_layers = ["fused.rs", "steps.rs", "cells.rs", "pass.rs"];
    forbid(
        |path| {
            path.starts_with("kernels/")
                || path.starts_with("engine/fused/") && path != "engine/fused/mod.rs"
                || path.starts_with("model/") && of_layers.iter().any(|end| path.ends_with(end))
        },
        names_libtorch,
        "compute with slices here; src/engine/fused/mod.rs has them from src/tensor/slices.rs:",
    );
}

/// A layer kind's folder says in its `mod.rs` what it is; with tensors it is computed in `torch.rs`.
#[test]
fn what_a_layer_is_names_no_tensor() {
    forbid(
        |path| {
            path.starts_with("model/layers/")
                && path.matches('/').count() == 3
                && path.ends_with("/mod.rs")
        },
        names_libtorch,
        "put what computes with tensors into the layer's torch.rs:",
    );
}

#[test]
fn only_device_rs_moves_numbers_between_host_and_device() {
    let moves = [
        "double_value(",
        "int64_value(",
        "Vec::try_from(",
        "f64::try_from(",
        "i64::try_from(",
        "bool::try_from(",
        "to_device",
        "pin_memory(",
        "copy_(",
    ];
    forbid(
        outside(&["tensor/device.rs"]),
        |line| moves.iter().any(|word| line.contains(word)),
        "transfer through src/tensor/device.rs, where the loop's stalls are counted:",
    );
    forbid(
        outside(&["tensor/device.rs", "train/checkpoint.rs"]),
        |line| line.contains("copy_data"),
        "transfer through src/tensor/device.rs:",
    );
    forbid(
        outside(&["tensor/slices.rs"]),
        |line| line.contains("data_ptr("),
        "ask src/tensor/slices.rs for the memory of a tensor:",
    );
}

#[test]
fn only_simd_rs_knows_processors() {
    forbid(
        outside(&["kernels/simd.rs"]),
        |line| has(line, "arch::") || line.contains("feature_detected!"),
        "add what is missing to the traits and questions of src/kernels/simd.rs:",
    );
}

/// Where memory is shared with libtorch or among threads, where vector instructions are chosen, where
/// an index a few numbers would be checked each time, and where the environment is set.
#[test]
fn unsafe_code_is_where_it_has_to_be() {
    let allowed = [
        "engine/fused/gradient.rs",
        "engine/fused/mod.rs",
        "kernels/float.rs",
        "kernels/product.rs",
        "kernels/simd.rs",
        "kernels/thread_pool.rs",
        "kernels/transpose.rs",
        "main.rs",
        "optim/memory.rs",
        "optim/optimizer.rs",
        "tensor/cpp/adam.rs",
        "tensor/cpp/graph.rs",
        "tensor/cpp/lstm.rs",
        "tensor/cpp/mod.rs",
        "tensor/cpp/operations.rs",
        "tensor/slices.rs",
    ];
    forbid(outside(&allowed), |line| has(line, "unsafe"), "do without unsafe code here:");
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    const LINES_BEFORE: usize = 4;
    let mut found = String::new();
    for source in sources() {
        let text: Vec<&str> = source.text.lines().collect();
        for (i, line) in source.code.lines().enumerate() {
            // What an unsafe function asks of its caller is in its documentation.
            let promises = has(line, "unsafe {") || has(line, "unsafe impl");
            let before = &text[i.saturating_sub(LINES_BEFORE)..=i];
            if promises && !before.iter().any(|line| line.contains("// SAFETY: ")) {
                found += &format!("\n  src/{}:{}: {}", source.path, i + 1, line.trim());
            }
        }
    }
    assert!(found.is_empty(), "write `// SAFETY: ` and why just above:{found}");
}

#[test]
fn nothing_is_one_hot_encoded() {
    forbid(
        |_| true,
        |line| ["one_hot", "onehot"].iter().any(|word| line.to_lowercase().contains(word)),
        "an id's projection is a row of the kernel: use Lstm::project_ids:",
    );
}

#[test]
fn nothing_panics_at_a_user() {
    let panics = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
    let macros = ["panic!", "todo!", "unimplemented!", "dbg!"];
    forbid(
        |_| true,
        |line| panics.iter().any(|p| line.contains(p)) || macros.iter().any(|m| has(line, m)),
        "return an error; what cannot happen is unreachable!, with the reason:",
    );
}

/// `lib.rs` lists the rooms from top to bottom, and a room's `mod.rs` its files, in groups between
/// blank lines: each may use those of its own group and of the groups below.
#[test]
fn imports_point_downwards() {
    let all = sources();
    let listed = |path: &str| {
        let list = all.iter().find(|source| source.path == path);
        list.map_or(Vec::new(), |list| ranks(&list.code))
    };
    let rooms = listed("lib.rs");
    let rank = |ranks: &[(String, usize)], name: &str| {
        ranks.iter().find(|(module, _)| module == name).map(|(_, rank)| *rank)
    };
    for Source { path, code, .. } in &all {
        let own = room(path);
        let Some(here) = rank(&rooms, own) else {
            assert!(["lib", "main"].contains(&own), "src/lib.rs does not list {own}");
            continue;
        };
        let file = path[own.len() + 1..].split(['/', '.']).next().unwrap_or_default();
        let files = listed(&format!("{own}/mod.rs"));
        let place = rank(&files, file);
        assert!(place.is_some() || file == "mod", "src/{own}/mod.rs does not list {file}");
        for (name, of_it) in imported(code) {
            let below = match name == own {
                false => rank(&rooms, &name).is_none_or(|there| there > here),
                true => match (place, rank(&files, &of_it)) {
                    (Some(here), Some(there)) => there >= here,
                    _ => true,
                },
            };
            assert!(
                below,
                "src/{path} uses crate::{name}::{of_it}, which is listed above it: \
                 move what both need down, or the line in src/lib.rs or src/{own}/mod.rs"
            );
        }
    }
}

/// The modules that `code` declares, each with its group between blank lines.
fn ranks(code: &str) -> Vec<(String, usize)> {
    let mut group = 0;
    let mut modules = Vec::new();
    for line in code.lines() {
        group += usize::from(line.is_empty());
        let module = line.strip_prefix("pub mod ").or(line.strip_prefix("mod "));
        modules.extend(module.map(|module| (module.trim_end_matches(';').to_owned(), group)));
    }
    modules
}

/// What follows `crate::` in `code`, one by one or between braces: a room and what is named of it.
fn imported(code: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = part.strip_prefix('{').map(|list| list.split('}').next().unwrap_or(list));
        let items = list.map_or(vec![part], |list| list.split(',').collect());
        let word = |text: &str| {
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            text.trim_start().split(end).next().unwrap_or_default().to_owned()
        };
        for item in items.iter().map(|item| item.trim_start()) {
            let room = word(item);
            let rest = item[room.len()..].strip_prefix("::").unwrap_or_default();
            let several = rest.strip_prefix('{').and_then(|list| list.split('}').next());
            let of_it = several.map_or(vec![rest], |list| list.split(',').collect());
            names.extend(of_it.into_iter().map(|item| (room.clone(), word(item))));
        }
    }
    names
}

#[test]
fn these_checks_read_code_and_not_words() {
    let text = "let a = \"// panic!\"; // todo!\nlet b = '\"'; batch::f(); 'a: tch::g();\n\
                #[cfg(test)]\nmod tests {\n    x.unwrap()\n}\nlet c = r#\"csv::\"#;";
    let code = without_tests(&code_of(text));
    assert_eq!(code.lines().count(), text.lines().count());
    for word in ["panic!", "todo!", "unwrap", "csv"] {
        assert!(!code.contains(word), "{word}: {code}");
    }
    let line = code.lines().nth(1).unwrap();
    assert!(names_crate(line, "tch") && !names_crate("batch::f();", "tch"), "{line}");
    let uses = imported("use crate::{a, b::c};\nuse crate::d::{e, f::g};");
    let expected = [("a", ""), ("b", "c"), ("d", "e"), ("d", "f")];
    assert_eq!(uses, expected.map(|(room, file)| (room.to_owned(), file.to_owned())));
}
