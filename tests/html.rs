//! `report --html`: the page of runs, as text and in a browser where there is one.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Csv, Lab, json};
use serde_json::Value;

const UPLOT: &str = include_str!("../src/reports/html/uplot/uPlot.iife.min.js");

/// The page of `directory`.
fn page(lab: &Lab, directory: &str) -> String {
    let printed = lab.command("report --html").arg(directory).output().unwrap();
    let stderr = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(printed.status.success(), "{stderr}");
    lab.read(&format!("{directory}/report.html"))
}

/// What stands in `text` after `start` and before the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in the page"));
    rest.split_once(end).unwrap().0
}

/// What the page's script reads.
fn data(page: &str) -> Value {
    json(between(page, "<script type=\"application/json\" id=\"data\">", "</script>"))
}

/// The section with the heading `id`.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    between(page, &format!("<section aria-labelledby=\"{id}\">"), "</section>")
}

/// The tags of `page`, without scripts and styles and what they have.
fn tags(page: &str) -> Vec<String> {
    let mut rest = page.to_owned();
    for element in ["script", "style"] {
        while let Some(start) = rest.find(&format!("<{element}")) {
            let end = format!("</{element}>");
            let length = rest[start..].find(&end).expect("an end") + end.len();
            rest.replace_range(start..start + length, "");
        }
    }
    rest.split('<').skip(1).map(|tag| tag.split('>').next().unwrap().to_owned()).collect()
}

/// The headings of the columns of the first table in `section`.
fn headings(section: &str) -> Vec<&str> {
    let head = between(section, "<thead>", "</thead>");
    let cells = head.split("<th ").skip(1);
    cells.map(|cell| cell.split('>').nth(1).unwrap().split('<').next().unwrap()).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Equal in the four digits that the page has.
fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() <= 6e-4 * expected.abs(), "{got}, not {expected}");
}

/// A run of text whose every token, file and directory would be markup.
fn lab_of_markup(run: &str) -> Lab {
    let lab = Lab::new();
    let token = |n: usize| ["<script>alert(1)</script>", "<img/src=x>", "\"'&", "a"][n % 4];
    let line = |n: usize| format!("{} {}\t{}\n", token(n), token(n / 3), token(n / 2));
    lab.write("<i>.tsv", (0..60).map(line).collect::<String>());
    let words = "--source-tokens words --target-tokens words";
    let train = format!("train --train <i>.tsv {words} --units 4 --epochs 1 --quiet --out");
    lab.command(&train).arg(run).assert().success();
    lab
}

#[test]
fn what_users_wrote_is_text_and_nothing_is_loaded() {
    let run = "runs/<b>\"'&\u{202e}";
    let lab = lab_of_markup(run);
    lab.copy(run, "runs/second");
    let page = page(&lab, "runs");
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
    assert!(section(&page, "examples").contains("&#60;img/src=x&#62;"));
    assert!(page.contains("&#60;b&#62;") && page.contains("\\\\u{202e}"));
    // The data, uPlot, and the page's own.
    assert_eq!(page.matches("<script").count(), 3);
    assert!(!page.contains("<b>") && !page.contains("<i>.tsv") && !page.contains("<img"));
    for tag in tags(&page) {
        let tag = tag.replace("href=\"data:,\"", "");
        let loads = ["src=", "href=", "http:", "https:", "url(", "action=", "iframe", "object"];
        assert!(loads.iter().all(|word| !tag.contains(word)), "{tag}");
        assert!(!tag.contains(" on"), "{tag}");
    }
    assert!(page.contains(UPLOT));
    let own = page.replace(UPLOT, "");
    for word in ["http:", "https:", "@import", "url(", "fetch(", "import(", "XMLHttpRequest"] {
        assert!(!own.contains(word), "{word}");
    }
    assert!(own.contains("content=\"default-src 'none'; "));
}

#[test]
fn its_numbers_are_those_of_the_files() {
    let lab = Lab::new();
    lab.train("echo --epochs 6 --evaluation-samples 40 --replicas 3 --validate-every 2", "run");
    let page = page(&lab, "run");
    let curves = Csv::curves(&lab, "run");
    let steps: Vec<f64> = curves.replica(0).numbers("step");
    let data = data(&page);
    let line = |chart: usize, kind: usize| data["runs"][0]["lines"][chart][kind].clone();
    for (chart, column) in [(0, "loss"), (1, "accuracy")] {
        let line = line(chart, 0);
        assert_eq!(numbers(&line["x"]), steps);
        let replicas: Vec<Vec<f64>> = (0..3).map(|k| curves.replica(k).numbers(column)).collect();
        for i in 0..steps.len() {
            let here: Vec<f64> = replicas.iter().map(|replica| replica[i]).collect();
            close(numbers(&line["m"])[i], mean(&here));
            close(numbers(&line["l"])[i], here.iter().copied().fold(f64::INFINITY, f64::min));
            close(numbers(&line["h"])[i], here.iter().copied().fold(0.0, f64::max));
        }
    }
    let validated = curves.replica(1);
    let validated = validated.column("val_loss").iter().filter(|cell| !cell.is_empty()).count();
    assert_eq!(numbers(&line(0, 1)["x"]).len(), validated);
    assert!(validated > 1 && validated < steps.len());

    let summary = json(&lab.read("run/summary.json"));
    let replicas = summary["replicas"].as_array().unwrap();
    let row = between(section(&page, "runs"), "<tbody>", "</tbody>");
    let values: Vec<&str> =
        row.split("data-value=\"").skip(1).map(|v| v.split('"').next().unwrap()).collect();
    let losses: Vec<f64> = replicas.iter().map(|r| r["train_loss"].as_f64().unwrap()).collect();
    close(values[1].parse().unwrap(), mean(&losses));
    assert!(row.contains(&format!(">{:.4} <span class=\"sd\">± ", mean(&losses))), "{row}");
    let last: Vec<f64> = (0..3)
        .map(|k| {
            let replica = curves.replica(k);
            let known = replica.column("val_loss").into_iter().rfind(|cell| !cell.is_empty());
            known.unwrap().parse().unwrap()
        })
        .collect();
    close(values[3].parse().unwrap(), mean(&last));
    assert_eq!(
        headings(section(&page, "runs")),
        [
            "run",
            "state",
            "replicas",
            "train loss",
            "train accuracy",
            "val loss",
            "val accuracy",
            "val exact",
            "eval loss",
            "token accuracy",
            "exact sequences",
            "seconds"
        ]
    );
    let predictions = Csv::predictions(&lab, "run");
    let shown = section(&page, "examples");
    assert_eq!(shown.matches("<tr").count() - 1, predictions.rows.len().min(10));
    assert!(shown.contains(&format!("<td dir=\"auto\">{}</td>", predictions.rows[0][1])));
}

#[test]
fn of_configurations_there_is_what_differs() {
    let lab = Lab::new();
    let small = "echo --epochs 2 --evaluation-samples 40";
    lab.train(small, "runs/narrow");
    lab.train(&format!("{small} --units 20 --dropout 0.25"), "runs/wide");
    let both = page(&lab, "runs");
    assert_eq!(headings(section(&both, "settings")), ["run", "units", "dropout"]);
    let rows = section(&both, "settings");
    assert!(rows.contains(">20</td>") && rows.contains(">0.25</td>") && rows.contains(">16</td>"));
    assert!(!page(&lab, "runs/wide").contains("id=\"settings\""));
}

#[test]
fn published_figures_stand_beside_what_trains_the_preset() {
    let lab = Lab::new();
    lab.train("echo --evaluation-samples 40 --replicas 2", "runs/as-it-is");
    lab.train("echo --epochs 2 --evaluation-samples 40", "runs/changed");
    let page = page(&lab, "runs");
    let published = section(&page, "published");
    assert!(published.contains("<td>1.7123</td>") && published.contains(" sd)</td>"));
    assert!(published.contains("A quick look, no result: fewer than 10 replicas of as-it-is."));
    assert!(!published.contains("changed"), "{published}");
    assert!(published.contains("An independent implementation"));
    assert_eq!(
        page.matches("class=\"mark ").count(),
        4,
        "of loss and accuracy, lowest and highest"
    );
    let marks = &data(&page)["runs"][0]["marks"][0];
    assert_eq!(marks["span"], serde_json::json!([1.7123, 1.7123]));
}

#[test]
fn a_published_curve_is_drawn_where_it_is_asked_for() {
    let lab = Lab::new();
    let small = "partial-echo-2 --units 2 --log-every 50 --evaluation-samples 42";
    lab.train(small, "study/two-units");
    assert!(!page(&lab, "study").contains("class=\"ring "));
    lab.run("report study --html --published-curves --out page.html");
    let page = lab.read("page.html");
    assert_eq!(page.matches("class=\"ring ").count(), 20);
    assert_eq!(data(&page)["runs"][0]["marks"][0]["curve"][0], serde_json::json!([250, 3.8996]));
}

#[test]
fn runs_of_numbers_have_no_accuracies() {
    let lab = Lab::new();
    let waves = "reverse --task waves --loss mse --n-in 8 --n-out 3 --units 4 --samples 64";
    lab.train(&format!("{waves} --evaluation-samples 8"), "run");
    let page = page(&lab, "run");
    assert!(!page.to_lowercase().contains("<h3>accuracy"));
    assert_eq!(data(&page)["charts"].as_array().unwrap().len(), 1);
    assert!(headings(section(&page, "runs")).iter().all(|of| !of.contains("accuracy")));
    assert_eq!(headings(section(&page, "examples")), ["source", "expected", "predicted"]);
}

#[test]
fn a_run_in_progress_shows_how_far_it_is() {
    let lab = Lab::new();
    lab.train("echo --epochs 3 --evaluation-samples 40", "runs/done");
    lab.copy("runs/done", "runs/going");
    for file in ["summary.json", "predictions.csv"] {
        fs::remove_file(lab.path("runs/going").join(file)).unwrap();
    }
    let both = page(&lab, "runs");
    assert!(both.contains("2 runs, 1 not finished"), "{both}");
    let steps = Csv::curves(&lab, "runs/going");
    let last = *steps.numbers("step").last().unwrap();
    assert!(both.contains(&format!("<td>in progress, step {last}</td>")));
    let loss = *steps.numbers("loss").last().unwrap();
    assert!(both.contains(&format!("data-value=\"{loss}\">{loss:.4}</td>")), "{loss}");
    // One that has only begun.
    let header = lab.read("runs/going/curves.csv").lines().next().unwrap().to_owned() + "\n";
    lab.write("runs/going/curves.csv", header);
    let begun = page(&lab, "runs/going");
    assert!(begun.contains("in progress, step 0") && !begun.contains("<figure"));
}

#[test]
fn what_inspect_wrote_into_a_run_is_drawn() {
    let lab = Lab::new();
    lab.train("reverse --units 4 --samples 64 --evaluation-samples 8 --attention dot", "run");
    assert!(!page(&lab, "run").contains("class=\"map"));
    lab.run("inspect run --source '3 1 4 1 5 9' --out run/inside");
    let page = page(&lab, "run");
    let map = section(&page, "attention");
    assert!(map.contains("run: inside, source 0"), "{map}");
    assert_eq!(map.matches("<text transform").count(), 6);
    let weights = Csv::parse(
        &lab.read("run/inside/attention.weights.csv"),
        "source,target_step,source_step,target_token,source_token,weight",
    );
    let first: f64 = weights.rows[0][5].parse().unwrap();
    assert!(map.contains(&format!("fill-opacity=\"{first:.2}\"")), "{first} in {map}");
}

#[test]
fn what_cannot_be_shown_or_written_is_refused() {
    let lab = Lab::new();
    fs::create_dir(lab.path("empty")).unwrap();
    lab.refuses(2, "report empty --html", &["error: empty: holds no run", "hint: give a run's"]);
    lab.refuses(2, "report nowhere --html", &["error: cannot read nowhere: "]);
    lab.refuses(2, "report empty --html --json", &["--json"]);
    lab.refuses(2, "report empty --out page.html", &["--html"]);
    lab.train("echo --epochs 2 --evaluation-samples 40", "run");
    lab.refuses(2, "report run --html --out no/page.html", &["error: cannot write no/page.html: "]);
    lab.refuses(2, "report run --html --out empty", &["error: cannot write empty: "]);
    let predictions = lab.read("run/predictions.csv");
    lab.write("run/predictions.csv", "replica,source\n0,1\n");
    lab.refuses(1, "report run --html", &["cannot read run/predictions.csv"]);
    lab.write("run/predictions.csv", predictions);
    // A page in a run is no part of it.
    lab.run("report run --html");
    lab.run("resume run --epochs 3 --quiet");
    let first = page(&lab, "run");
    assert!(first == page(&lab, "run"), "the same runs have the same page");
}

#[test]
fn the_page_of_the_committed_runs_is_small() {
    let lab = Lab::new();
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/reproduction");
    let command = lab.command("report --html --out page.html").arg(runs).output().unwrap();
    assert!(command.status.success());
    let page = lab.read("page.html");
    assert!(page.len() < 1_500_000, "{}", page.len());
    let data = data(&page);
    let runs = data["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 14);
    for line in runs.iter().flat_map(|run| run["lines"].as_array().unwrap()) {
        let points = line[0]["x"].as_array().unwrap().len();
        assert!((40..=502).contains(&points), "{points}");
    }
}

/// A browser on the path that is driven without a window.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "chrome-headless-shell", "google-chrome"];
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&folders).collect();
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|path| path.is_file())
}

/// What notes everything that goes wrong, before anything else runs.
const WATCH: &str = include_str!("fixtures/html/watch.js");

/// What looks at the page, clicks, and leaves what it found as JSON.
const PROBE: &str = include_str!("fixtures/html/probe.js");

/// What the probe finds in the page at `path`, in a window of this width.
fn probe(lab: &Lab, browser: &Path, page: &str, width: u32, dark: bool) -> Value {
    let probed = page.replacen("<head>", &format!("<head><script>{WATCH}</script>"), 1);
    let probe = format!("<output id=\"probe\"></output><script>{PROBE}</script></body>");
    let probed = probed.replacen("</body>", &probe, 1);
    // A browser's window is never as narrow as a telephone's; a frame may be.
    let framed = format!(
        "<!DOCTYPE html><meta name=\"color-scheme\" content=\"light dark\">\
         <iframe style=\"border: 0\" width=\"{width}\" height=\"900\" src=\"probed.html\"></iframe>\
         <script>addEventListener('load', () => setTimeout(() => {{ document.body.append(\
         document.querySelector('iframe').contentDocument.getElementById('probe')) }}, 3000))\
         </script>"
    );
    lab.write("probed.html", probed);
    lab.write("framed.html", framed);
    let mut command = assert_cmd::Command::new(browser);
    command.timeout(Duration::from_secs(120));
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--dump-dom",
    ]);
    command.args(["--allow-file-access-from-files", "--virtual-time-budget=6000"]);
    command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)));
    command.arg(format!("--user-data-dir={}", lab.path("profile").display()));
    command.arg(format!("--window-size={},1000", width + 100));
    command.arg(format!("file://{}", lab.path("framed.html").display()));
    let output = command.output().unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = dom.split_once("<output id=\"probe\">").unwrap_or_else(|| {
        panic!("the page was not probed: {dom}\n{}", String::from_utf8_lossy(&output.stderr))
    });
    json(&found.1.split_once("</output>").unwrap().0.replace("&amp;", "&").replace("&gt;", ">"))
}

#[test]
fn in_a_browser_it_draws_hides_and_sorts_and_fits_the_window() {
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no Chromium on the path (Debian: apt install chromium)");
        return;
    };
    let lab = Lab::new();
    for (run, rest) in [("a", "--units 4"), ("b", ""), ("c", "--learning-rate 0.02")] {
        let small = "echo --epochs 40 --evaluation-samples 40 --replicas 2 --validate-every 4";
        lab.train(&format!("{small} {rest}"), &format!("runs/{run}"));
    }
    let page = page(&lab, "runs");
    let values = between(section(&page, "runs"), "<tbody>", "</tbody>");
    let rows = values.split("<tr ").skip(1);
    let loss = |row: &str| {
        row.split("data-value=\"").nth(2).unwrap().split('"').next().unwrap().parse::<f64>()
    };
    let mut losses: Vec<(f64, &str)> =
        rows.zip(["a", "b", "c"]).map(|(row, name)| (loss(row).unwrap(), name)).collect();
    losses.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rising: Vec<&str> = losses.iter().map(|(_, name)| *name).collect();
    for (width, dark) in [(400, false), (400, true), (1400, false), (1400, true)] {
        let found = probe(&lab, &browser, &page, width, dark);
        let count = |name: &str, run: usize| found[name][run].as_u64().unwrap();
        assert_eq!(found["problems"], serde_json::json!([]), "{found}");
        assert_eq!(found["loaded"], serde_json::json!([]), "{found}");
        assert_eq!((&found["charts"], &found["drawings"]), (&2.into(), &0.into()), "{found}");
        assert!(count("before", 0) > 20 && count("before", 1) > 20, "{found}");
        assert!(count("hidden", 0) == 0 && count("hidden", 1) > 20, "{found}");
        assert!(count("again", 0) > 20, "{found}");
        assert_eq!(
            (&found["pressed"], &found["rows_off"]),
            (&"false".into(), &2.into()),
            "{found}"
        );
        assert_eq!(found["sorted"], "ascending", "{found}");
        assert_eq!(found["rising"], serde_json::json!(rising), "{found}");
        let falling: Vec<&str> = rising.iter().rev().copied().collect();
        assert_eq!(found["falling"], serde_json::json!(falling), "{found}");
        assert!(found["changed"].as_u64().unwrap() > 20, "{found}");
        let both = serde_json::json!([true, true]);
        assert_eq!((&found["zoomed"], &found["reset"]), (&both, &both), "{found}");
        assert!(found["tip"].as_str().unwrap().starts_with("step "), "{found}");
        assert_eq!((&found["width"], &found["wide"]), (&width.into(), &0.into()), "{found}");
        let paper = if dark { "rgb(20, 23, 28)" } else { "rgb(255, 255, 255)" };
        assert_eq!(found["paper"], paper, "{found}");
    }
}
