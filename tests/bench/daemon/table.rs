//! What is printed: a line for each figure.
#![expect(clippy::print_stdout, reason = "figures are for the terminal")]

pub(crate) fn heading(text: &str) {
    println!(
        "\n{text:<44} {:>12} {:>12} {:>8}",
        "daemon", "peer", "ratio"
    );
}

/// Prints a figure of each daemon; the ratio says how many times better the first is.
pub(crate) fn row(name: &str, figures: &[f64], unit: &str, more_is_better: bool) {
    let cell = |index: usize| match figures.get(index) {
        Some(figure) => format!("{figure:.1} {unit}"),
        None => "-".to_owned(),
    };
    let ratio = match figures {
        [ours, theirs] if more_is_better => format!("{:.2}x", ours / theirs),
        [ours, theirs] => format!("{:.2}x", theirs / ours),
        _ => "-".to_owned(),
    };
    println!("{name:<44} {:>12} {:>12} {ratio:>8}", cell(0), cell(1));
}

/// Prints a figure that is not compared.
pub(crate) fn line(name: &str, figure: Option<f64>, unit: &str) {
    let figure = figure.map(|figure| format!("{figure:.1} {unit}"));
    println!("{name:<44} {:>12}", figure.unwrap_or_default());
}
