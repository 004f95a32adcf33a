//! Aligned columns: two spaces between them, no lines, nothing that a terminal could take for a command. As `kotoba` prints them.

use unicode_width::UnicodeWidthStr;

/// Rows under the names of their columns.
pub fn rows(names: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let lines: Vec<Vec<String>> = std::iter::once(names)
        .chain(rows)
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let widest = |column: usize| lines.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(widest).collect();
    lines.iter().map(|cells| line(cells, &widths)).collect()
}

/// `name:  value` lines with the values aligned; those without a value are left out.
pub fn pairs(pairs: Vec<(String, String)>) -> String {
    let present: Vec<Vec<String>> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![format!("{name}:"), printable(&value)])
        .collect();
    let widest = present.iter().map(|pair| pair[0].width()).max().unwrap_or(0);
    present.iter().map(|pair| line(pair, &[widest, 0])).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text += cell;
        text += &" ".repeat(width.saturating_sub(cell.width()) + 2);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Data must not be able to move the cursor or colour the screen.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    safe
}
