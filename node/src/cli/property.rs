//! Properties as typed: `name=Ada`, `age:int=36`, `tags:string[]=a;b`, `address:json={"city":"Paris"}`.

use std::str::FromStr;

use kotoba_proto::v1::Value;
use kotoba_proto::value::{ParseValueError, Properties, ValueType};

use super::CliError;

/// Divides the elements of a list on the command line.
pub(super) const LIST_SEPARATOR: char = ';';

/// The part of a long help that says how properties are written.
pub(super) const PROPERTY_HELP: &str = "KEY=VALUE or KEY:TYPE=VALUE, repeatable. Types: string (default), int, float, bool, null, bytes (hex), \
     date, localtime, time, localdatetime, datetime, json; with [] a list, its elements divided by ';' (quote it for the shell)";

/// One `KEY[:TYPE]=VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PropertyArg {
    key: String,
    value: Value,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ParsePropertyError {
    #[error("write KEY=VALUE, for example name=Ada or age:int=36")]
    Form,
    #[error(transparent)]
    Value(#[from] ParseValueError),
}

impl FromStr for PropertyArg {
    type Err = ParsePropertyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, text) = text.split_once('=').ok_or(ParsePropertyError::Form)?;
        let (key, value_type) = match name.rsplit_once(':') {
            Some((key, value_type)) => (key, value_type.parse()?),
            None => (name, ValueType::String),
        };
        if key.is_empty() {
            return Err(ParsePropertyError::Form);
        }
        Ok(PropertyArg {
            key: key.to_owned(),
            value: value_type.parse(text, LIST_SEPARATOR)?,
        })
    }
}

/// Gathers the properties of one entity; a key that is given twice is a mistake.
pub(super) fn properties(arguments: Vec<PropertyArg>) -> Result<Properties, CliError> {
    let mut properties = Properties::new();
    for argument in arguments {
        if properties.insert(argument.key.clone(), argument.value).is_some() {
            let message = format!("property {:?} is given twice", argument.key);
            return Err(CliError::Usage(message));
        }
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Value) {
        let argument: PropertyArg = text.parse().unwrap();
        (argument.key, argument.value)
    }

    #[test]
    fn a_property_is_a_string_unless_a_type_is_named() {
        assert_eq!(parse("name=Ada"), ("name".into(), "Ada".into()));
        assert_eq!(parse("age=36"), ("age".into(), "36".into()));
        assert_eq!(parse("age:int=36"), ("age".into(), 36.into()));
        assert_eq!(parse("tags:string[]=a;b"), ("tags".into(), vec!["a", "b"].into()));
    }

    #[test]
    fn only_the_first_equals_sign_divides() {
        assert_eq!(parse("url=http://a:1/?b=c"), ("url".into(), "http://a:1/?b=c".into()));
        assert_eq!(parse("empty="), ("empty".into(), "".into()));
    }

    #[test]
    fn a_colon_in_the_key_needs_a_type_behind_it() {
        assert_eq!(parse("a:b:string=c"), ("a:b".into(), "c".into()));
        assert!("a:b=c".parse::<PropertyArg>().is_err());
    }

    #[test]
    fn what_is_no_property_is_refused() {
        for text in ["", "name", "=Ada", ":int=3", "age:int=x"] {
            assert!(text.parse::<PropertyArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_given_twice_is_a_usage_error() {
        let arguments = vec!["a=1".parse().unwrap(), "a=2".parse().unwrap()];
        assert!(matches!(properties(arguments), Err(CliError::Usage(_))));
    }
}
