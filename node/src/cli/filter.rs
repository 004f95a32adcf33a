//! Conditions and orders as typed: `age>=30`, `name^=Ad`, `town in Oslo;Turku`, `!nickname`; `name,-age`.

use std::convert::Infallible;
use std::str::FromStr;

use kotoba_proto::v1::property_filter::Test;
use kotoba_proto::v1::{ListValue, OrderBy, PropertyFilter, Value};
use kotoba_proto::value::{ParseValueError, ValueType};

use super::property::LIST_SEPARATOR;

/// The part of a long help that says how conditions are written.
pub(super) const FILTER_HELP: &str = "Condition on a property, repeatable, all must hold: KEY=VALUE, KEY!=VALUE, KEY<VALUE, KEY<=VALUE, KEY>VALUE, KEY>=VALUE, \
     'KEY in A;B', KEY^=PREFIX, KEY (it exists), !KEY (it is missing). KEY:TYPE names the type of the value, as with \
     --property; without it, what reads as a number or a boolean is equal to that and to the same text, and < and > compare \
     it as a number. Quote it for the shell";

/// The part of a long help that says how an order is written.
pub(super) const ORDER_HELP: &str =
    "Order by properties, the first one first: name,-age is by name, then by age descending; missing ones are last";

/// One condition; a few take two filters to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FilterArg {
    filters: Vec<PropertyFilter>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ParseFilterError {
    #[error(
        "write KEY=VALUE, KEY!=VALUE, KEY<VALUE, KEY<=VALUE, KEY>VALUE, KEY>=VALUE, 'KEY in A;B', KEY^=PREFIX, KEY or !KEY, \
         for example age>=30 or born:date<1900-01-01"
    )]
    Form,
    #[error("{0:?} is no operator; known are = != <> < <= > >= ^= and in")]
    Operator(String),
    #[error("a prefix is a string: write KEY^=PREFIX without a type")]
    Prefix,
    #[error(transparent)]
    Value(#[from] ParseValueError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    In,
}

impl FromStr for FilterArg {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let filters = match divided(text)? {
            Some((key, operator, value)) => compared(key, operator, value)?,
            None => match text.trim().strip_prefix('!') {
                Some(key) => vec![presence(key, false)?],
                None => vec![presence(text.trim(), true)?],
            },
        };
        Ok(FilterArg { filters })
    }
}

/// All filters of all conditions.
pub(super) fn filters(arguments: Vec<FilterArg>) -> Vec<PropertyFilter> {
    arguments.into_iter().flat_map(|argument| argument.filters).collect()
}

fn presence(key: &str, exists: bool) -> Result<PropertyFilter, ParseFilterError> {
    if key.is_empty() || key.contains(char::is_whitespace) || key.contains(is_symbol) {
        return Err(ParseFilterError::Form);
    }
    Ok(PropertyFilter::new(key, Test::Exists(exists)))
}

/// The key, the operator and the value: the key ends where the first operator begins. No operator: only a key.
fn divided(text: &str) -> Result<Option<(&str, Operator, &str)>, ParseFilterError> {
    const IN: &str = " in ";
    // A ! in front asks for a missing property.
    let symbol = text.char_indices().skip(1).find(|(_, letter)| is_symbol(*letter));
    let at = symbol.map_or(text.len(), |(at, _)| at);
    if let Some((key, values)) = text.split_once(IN).filter(|(key, _)| key.len() < at) {
        return Ok(Some((key.trim(), Operator::In, values.trim_start())));
    }
    if symbol.is_none() {
        return Ok(None);
    }
    let (key, rest) = text.split_at(at);
    let (operator, value) = operator_of(rest)?;
    // Who writes a space before the operator writes one behind it, too.
    let value = if key.ends_with(' ') { value.trim_start() } else { value };
    Ok(Some((key.trim(), operator, value)))
}

/// Operators are made of these, and keys are not.
fn is_symbol(letter: char) -> bool {
    "=<>!^".contains(letter)
}

fn operator_of(text: &str) -> Result<(Operator, &str), ParseFilterError> {
    // The longer ones first, since they begin like the shorter.
    let known = [
        ("!=", Operator::NotEqual),
        ("<>", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("^=", Operator::StartsWith),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let found = known
        .iter()
        .find_map(|(symbol, operator)| text.strip_prefix(symbol).map(|value| (*operator, value)));
    found.ok_or_else(|| ParseFilterError::Operator(text.chars().take(2).collect()))
}

fn compared(name: &str, operator: Operator, text: &str) -> Result<Vec<PropertyFilter>, ParseFilterError> {
    let (key, value_type) = match name.rsplit_once(':') {
        Some((key, value_type)) => (key, Some(value_type.parse::<ValueType>()?)),
        None => (name, None),
    };
    if key.is_empty() || key.contains(is_symbol) {
        return Err(ParseFilterError::Form);
    }
    let tests = tests(operator, value_type.as_ref(), text)?;
    Ok(tests.into_iter().map(|test| PropertyFilter::new(key, test)).collect())
}

fn tests(operator: Operator, value_type: Option<&ValueType>, text: &str) -> Result<Vec<Test>, ParseFilterError> {
    let one = |test: fn(Value) -> Test| Ok(vec![test(ordered_value(value_type, text)?)]);
    match operator {
        Operator::Equal => Ok(vec![equal_to_any(readings(value_type, text)?)]),
        Operator::NotEqual => Ok(readings(value_type, text)?.into_iter().map(Test::NotEqual).collect()),
        Operator::Less => one(Test::Less),
        Operator::LessOrEqual => one(Test::LessOrEqual),
        Operator::Greater => one(Test::Greater),
        Operator::GreaterOrEqual => one(Test::GreaterOrEqual),
        Operator::StartsWith => match value_type {
            None | Some(ValueType::String) => Ok(vec![Test::StartsWith(text.to_owned())]),
            Some(_) => Err(ParseFilterError::Prefix),
        },
        Operator::In => {
            let elements = text.split(LIST_SEPARATOR).map(|element| readings(value_type, element));
            let values: Vec<Vec<Value>> = elements.collect::<Result<_, _>>()?;
            Ok(vec![Test::In(ListValue {
                values: values.concat(),
            })])
        }
    }
}

fn equal_to_any(mut values: Vec<Value>) -> Test {
    match values.len() {
        1 => Test::Equal(values.remove(0)),
        _ => Test::In(ListValue { values }),
    }
}

/// What a text may mean: with a type one value, else the text, and the number or boolean that it reads as.
fn readings(value_type: Option<&ValueType>, text: &str) -> Result<Vec<Value>, ParseFilterError> {
    match value_type {
        Some(value_type) => Ok(vec![value_type.parse(text, LIST_SEPARATOR)?]),
        None => Ok(std::iter::once(Value::from(text)).chain(literal(text)).collect()),
    }
}

/// A value to compare by size: a number where the text reads as one.
fn ordered_value(value_type: Option<&ValueType>, text: &str) -> Result<Value, ParseFilterError> {
    match value_type {
        Some(value_type) => Ok(value_type.parse(text, LIST_SEPARATOR)?),
        None => Ok(literal(text).unwrap_or_else(|| text.into())),
    }
}

/// The number or boolean that a text reads as. Words like "nan" and "inf" stay words.
fn literal(text: &str) -> Option<Value> {
    let has_digit = text.contains(|letter: char| letter.is_ascii_digit());
    let integer = text.parse::<i64>().ok().map(Value::from);
    let float = || text.parse::<f64>().ok().filter(|_| has_digit).map(Value::from);
    let boolean = || text.parse::<bool>().ok().map(Value::from);
    integer.or_else(float).or_else(boolean)
}

/// One property of an order: `name`, or `-age` for descending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OrderArg(OrderBy);

impl FromStr for OrderArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(OrderArg(match text.strip_prefix('-') {
            Some(property) => OrderBy::descending(property),
            None => OrderBy::ascending(text),
        }))
    }
}

impl From<OrderArg> for OrderBy {
    fn from(argument: OrderArg) -> Self {
        argument.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Test) {
        let argument: FilterArg = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let [filter] = &argument.filters[..] else {
            panic!("{text}: {:?}", argument.filters)
        };
        (filter.key.clone(), filter.test.clone().unwrap())
    }

    fn list(values: impl IntoIterator<Item = Value>) -> ListValue {
        ListValue {
            values: values.into_iter().collect(),
        }
    }

    #[test]
    fn every_operator_is_read_with_and_without_spaces() {
        let thirty = || Value::from(30);
        let cases = [
            ("age<30", Test::Less(thirty())),
            ("age <= 30", Test::LessOrEqual(thirty())),
            ("age>30", Test::Greater(thirty())),
            ("age>=30", Test::GreaterOrEqual(thirty())),
            ("age > 2.5", Test::Greater(2.5.into())),
            ("age^=Ad", Test::StartsWith("Ad".into())),
            ("age=Ada", Test::Equal("Ada".into())),
            ("age!=Ada", Test::NotEqual("Ada".into())),
            ("age<>Ada", Test::NotEqual("Ada".into())),
            ("age", Test::Exists(true)),
            ("!age", Test::Exists(false)),
            ("age in A;B", Test::In(list(["A".into(), "B".into()]))),
            ("age<zoe", Test::Less("zoe".into())),
            ("age=inf", Test::Equal("inf".into())),
        ];
        for (text, test) in cases {
            assert_eq!(parse(text), ("age".to_owned(), test), "{text}");
        }
    }

    #[test]
    fn what_reads_as_a_number_is_equal_to_it_and_to_its_text() {
        assert_eq!(parse("age=30").1, Test::In(list(["30".into(), 30.into()])));
        assert_eq!(parse("on=true").1, Test::In(list(["true".into(), true.into()])));
        let not: FilterArg = "age!=30".parse().unwrap();
        assert_eq!(not.filters.len(), 2);
        let several = parse("age in 1;x").1;
        assert_eq!(several, Test::In(list(["1".into(), 1.into(), "x".into()])));
    }

    #[test]
    fn a_type_makes_one_value() {
        assert_eq!(parse("age:int=30").1, Test::Equal(30.into()));
        assert_eq!(parse("age:string<30").1, Test::Less("30".into()));
        assert_eq!(parse("tags:string[]=a;b").1, Test::Equal(vec!["a", "b"].into()));
        assert_eq!(parse("age:int in 1;2").1, Test::In(list([1.into(), 2.into()])));
        assert!(matches!(parse("born:date<1900-01-01").1, Test::Less(_)));
    }

    #[test]
    fn only_the_first_operator_divides() {
        assert_eq!(
            parse("url=http://a/?b>=c in d").1,
            Test::Equal("http://a/?b>=c in d".into())
        );
        assert_eq!(parse("url in a=b;c").1, Test::In(list(["a=b".into(), "c".into()])));
        assert_eq!(parse("name=").1, Test::Equal("".into()));
        assert_eq!(parse("name= Ada").1, Test::Equal(" Ada".into()));
    }

    #[test]
    fn what_is_no_condition_says_how_one_is_written() {
        let error = |text: &str| text.parse::<FilterArg>().unwrap_err().to_string();
        for text in ["", "!", "=3", "two words", ":int=3", "!age=3"] {
            assert!(error(text).contains("age>=30"), "{text}: {}", error(text));
        }
        assert!(error("age!30").contains("no operator"), "{}", error("age!30"));
        assert!(error("age:int>x").contains("\"x\""), "{}", error("age:int>x"));
        assert!(error("age:intt=3").contains("known are"));
        assert!(error("age:int^=3").contains("prefix"));
    }

    #[test]
    fn a_minus_makes_an_order_descending() {
        let by = |text: &str| OrderBy::from(text.parse::<OrderArg>().unwrap());
        assert_eq!(by("name"), OrderBy::ascending("name"));
        assert_eq!(by("-age"), OrderBy::descending("age"));
    }
}
