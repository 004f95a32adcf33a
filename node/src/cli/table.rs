//! Aligned columns for people: two spaces between columns, no lines, nothing that a terminal could take for a command.

use unicode_width::UnicodeWidthStr;

/// Rows of text under column names.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Of what was rendered before; columns never become narrower.
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().to_uppercase());
        Table {
            names: names.collect(),
            rows: Vec::new(),
            widths: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Rows that wait to be rendered.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows that were pushed since the last time, the first time under the names.
    pub(super) fn render(&mut self) -> String {
        let is_first = self.widths.is_empty();
        self.widths = self.widths();
        let mut text = if is_first {
            line(&self.names, &self.widths)
        } else {
            String::new()
        };
        for row in self.rows.drain(..) {
            text += &line(&row, &self.widths);
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let all = || std::iter::once(&self.names).chain(&self.rows);
        let widest = |column: usize| all().map(|row| row[column].width()).max();
        let before = |column: usize| self.widths.get(column).copied();
        (0..self.names.len())
            .map(|column| widest(column).max(before(column)).unwrap_or(0))
            .collect()
    }
}

/// `name:  value` lines with the values aligned.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = pairs.into_iter().collect();
    let widest = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let space = " ".repeat(widest - name.width() + 2);
        format!("{name}:{space}{}\n", printable(value))
    };
    pairs.iter().map(line).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text += cell;
        text += &" ".repeat(width - cell.width() + 2);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Data must not be able to move the cursor or colour the screen.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["id", "name"]);
        table.push(["1".to_owned(), "Ada".to_owned()]);
        table.push(["12345".to_owned(), String::new()]);
        assert_eq!(table.render(), "ID     NAME\n1      Ada\n12345\n");
    }

    #[test]
    fn a_table_goes_on_under_the_same_columns() {
        let mut table = Table::new(["id", "name"]);
        table.push(["12345".to_owned(), "Ada".to_owned()]);
        table.render();
        table.push(["1".to_owned(), "Eve".to_owned()]);
        assert_eq!(table.render(), "1      Eve\n");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut table = Table::new(["word", "x"]);
        table.push(["言葉".to_owned(), "1".to_owned()]);
        table.push(["abcd".to_owned(), "2".to_owned()]);
        assert_eq!(table.render(), "WORD  X\n言葉  1\nabcd  2\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(["a"]);
        table.push(["\u{1b}[2J\n".to_owned()]);
        assert_eq!(table.render(), "A\n\\u{1b}[2J\\n\n");
    }

    #[test]
    fn pairs_are_aligned() {
        let text = pairs([("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(text, "a:     1\nlong:  2\n");
    }
}
