//! Headers as neo4j-admin writes them: `name:type`, with `:ID(space)`, `:LABEL`, `:START_ID(space)`, `:END_ID(space)`, `:TYPE`
//! and `:IGNORE` as roles. <https://neo4j.com/docs/operations-manual/current/import/>

use csv::StringRecord;
use kotoba_proto::value::ValueType;

use super::error::LayoutError;
use super::layout::{Column, EdgeLayout, End, LabelColumn, Layout, NodeLayout, Shared};

/// What one column of a header is.
#[derive(Clone, Debug, PartialEq)]
enum Role {
    Id {
        space: String,
        key: Option<(String, ValueType)>,
    },
    Label,
    Start {
        space: String,
    },
    End {
        space: String,
    },
    Type,
    Ignore,
    Property {
        key: String,
        value_type: ValueType,
    },
}

/// Reads the header of a file of nodes, whose nodes all get `labels`.
pub(super) fn nodes(
    header: &StringRecord,
    labels: Vec<String>,
    array_delimiter: char,
) -> Result<NodeLayout, LayoutError> {
    let roles = roles(header)?;
    let id = only(&roles, "an :ID", |role| matches!(role, Role::Id { .. }))?;
    let misplaced = |role: &Role| matches!(role, Role::Start { .. } | Role::End { .. } | Role::Type);
    if let Some(index) = roles.iter().position(misplaced) {
        return Err(column_error(
            &header[index],
            "belongs to relationships, but the file holds nodes",
        ));
    }
    let is_label = |(_, role): &(usize, &Role)| **role == Role::Label;
    let label_columns = roles.iter().enumerate().filter(is_label).map(|(index, _)| LabelColumn {
        index,
        names: Default::default(),
    });
    Ok(NodeLayout {
        id,
        space: id.map(|index| space_of(&roles[index])).unwrap_or_default(),
        labels,
        label_columns: label_columns.collect(),
        shared: shared(&roles, array_delimiter),
    })
}

/// Reads the header of a file of relationships, which have `default_type` where a row names none.
pub(super) fn edges(
    header: &StringRecord,
    default_type: Option<String>,
    array_delimiter: char,
) -> Result<EdgeLayout, LayoutError> {
    let roles = roles(header)?;
    let misplaced = |role: &Role| matches!(role, Role::Id { .. } | Role::Label);
    if let Some(index) = roles.iter().position(misplaced) {
        return Err(column_error(
            &header[index],
            "belongs to nodes, but the file holds relationships",
        ));
    }
    let end = |found: Option<usize>, role| {
        let index = found.ok_or(LayoutError::Missing { role })?;
        let space = space_of(&roles[index]);
        Ok(End { index, space })
    };
    let start_index = only(&roles, ":START_ID", |role| matches!(role, Role::Start { .. }))?;
    let end_index = only(&roles, ":END_ID", |role| matches!(role, Role::End { .. }))?;
    let type_column = only(&roles, ":TYPE", |role| *role == Role::Type)?;
    if type_column.is_none() && default_type.is_none() {
        return Err(LayoutError::NoType);
    }
    Ok(EdgeLayout {
        start: end(start_index, ":START_ID")?,
        end: end(end_index, ":END_ID")?,
        type_column,
        default_type,
        shared: shared(&roles, array_delimiter),
    })
}

/// Reads the header of a file of which only the header says what it holds.
pub(super) fn either(header: &StringRecord, array_delimiter: char) -> Result<Layout, LayoutError> {
    let roles = roles(header)?;
    let has = |wanted: fn(&Role) -> bool| roles.iter().any(wanted);
    if has(|role| matches!(role, Role::Start { .. } | Role::End { .. })) {
        return edges(header, None, array_delimiter).map(Layout::Edges);
    }
    match has(|role| matches!(role, Role::Id { .. })) {
        true => nodes(header, Vec::new(), array_delimiter).map(Layout::Nodes),
        false => Err(LayoutError::Unclear),
    }
}

fn roles(header: &StringRecord) -> Result<Vec<Role>, LayoutError> {
    header.iter().map(role).collect()
}

fn role(column: &str) -> Result<Role, LayoutError> {
    let (name, kind) = column.rsplit_once(':').unwrap_or((column, ""));
    // An option may hold colons of its own: id:ID(Person){id-type:int}
    let (name, kind) = match column.find('{') {
        Some(brace) => match column[..brace].rsplit_once(':') {
            Some((name, _)) => (name, &column[name.len() + 1..]),
            None => {
                return Err(column_error(column, "options in braces need a type before them"));
            }
        },
        None => (name, kind),
    };
    let (kind, options) = split_options(column, kind)?;
    let (kind, space) = split_space(column, kind)?;
    let role = match kind {
        "ID" => Role::Id {
            space,
            key: (!name.is_empty()).then(|| (name.to_owned(), options.unwrap_or(ValueType::String))),
        },
        "START_ID" => Role::Start { space },
        "END_ID" => Role::End { space },
        "LABEL" => Role::Label,
        "TYPE" => Role::Type,
        "IGNORE" => Role::Ignore,
        _ if name.is_empty() => return Err(column_error(column, "a property needs a name")),
        "" => property(name, ValueType::String),
        other => property(name, value_type(column, other)?),
    };
    Ok(role)
}

fn property(name: &str, value_type: ValueType) -> Role {
    Role::Property {
        key: name.to_owned(),
        value_type,
    }
}

fn value_type(column: &str, name: &str) -> Result<ValueType, LayoutError> {
    name.parse()
        .map_err(|error: kotoba_proto::value::ParseValueError| column_error(column, &error.to_string()))
}

/// Cuts `{id-type:int}` off; the only option we know is the type that an id has as a property.
fn split_options<'a>(column: &str, kind: &'a str) -> Result<(&'a str, Option<ValueType>), LayoutError> {
    let Some((kind, options)) = kind.split_once('{') else {
        return Ok((kind, None));
    };
    let id_type = options
        .strip_suffix('}')
        .and_then(|options| options.trim().strip_prefix("id-type"));
    match id_type.and_then(|rest| rest.trim_start().strip_prefix(':')) {
        Some(name) => Ok((kind, Some(value_type(column, name.trim())?))),
        None => Err(column_error(
            column,
            "the only option that is understood is {id-type:TYPE}",
        )),
    }
}

fn split_space<'a>(column: &str, kind: &'a str) -> Result<(&'a str, String), LayoutError> {
    match kind.split_once('(') {
        None => Ok((kind, String::new())),
        Some((kind, space)) => match space.strip_suffix(')') {
            Some(space) => Ok((kind, space.to_owned())),
            None => Err(column_error(column, "a parenthesis is not closed")),
        },
    }
}

fn shared(roles: &[Role], array_delimiter: char) -> Shared {
    let column = |(index, role): (usize, &Role)| {
        let (key, value_type) = match role {
            Role::Property { key, value_type } => (key.clone(), value_type.clone()),
            Role::Id { key, .. } => key.clone()?,
            Role::Label | Role::Start { .. } | Role::End { .. } | Role::Type | Role::Ignore => {
                return None;
            }
        };
        Some(Column { index, key, value_type })
    };
    Shared {
        width: roles.len(),
        properties: roles.iter().enumerate().filter_map(column).collect(),
        array_delimiter,
    }
}

fn space_of(role: &Role) -> String {
    match role {
        Role::Id { space, .. } | Role::Start { space } | Role::End { space } => space.clone(),
        Role::Label | Role::Type | Role::Ignore | Role::Property { .. } => String::new(),
    }
}

/// The one column of a role, if there is one; two are a mistake.
fn only(roles: &[Role], name: &'static str, wanted: impl Fn(&Role) -> bool) -> Result<Option<usize>, LayoutError> {
    let mut found = roles
        .iter()
        .enumerate()
        .filter(|(_, role)| wanted(role))
        .map(|(index, _)| index);
    let first = found.next();
    match found.next() {
        Some(_) => Err(LayoutError::Twice { role: name }),
        None => Ok(first),
    }
}

fn column_error(column: &str, problem: &str) -> LayoutError {
    LayoutError::Column {
        column: column.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> StringRecord {
        StringRecord::from(text.split(',').collect::<Vec<_>>())
    }

    fn types(shared: &Shared) -> Vec<String> {
        let text = |column: &Column| format!("{}:{}:{}", column.index, column.key, column.value_type);
        shared.properties.iter().map(text).collect()
    }

    #[test]
    fn a_header_of_nodes_gives_id_space_labels_and_types() {
        let layout = nodes(
            &header("id:ID(Person),name,age:int,langs:string[],:LABEL,x:IGNORE"),
            vec![],
            ';',
        )
        .unwrap();
        assert_eq!((layout.id, layout.space.as_str()), (Some(0), "Person"));
        assert_eq!(layout.label_columns[0].index, 4);
        assert_eq!(
            types(&layout.shared),
            ["0:id:string", "1:name:string", "2:age:int", "3:langs:string[]"]
        );
        assert_eq!(layout.shared.width, 6);
    }

    #[test]
    fn an_id_without_name_is_no_property_and_one_with_id_type_is_typed() {
        let layout = nodes(&header(":ID,name"), vec![], ';').unwrap();
        assert_eq!(types(&layout.shared), ["1:name:string"]);
        let layout = nodes(&header("id:ID(P){id-type: long}"), vec![], ';').unwrap();
        assert_eq!(
            (layout.space.as_str(), types(&layout.shared)),
            ("P", vec!["0:id:int".to_owned()])
        );
    }

    #[test]
    fn a_header_of_relationships_gives_both_ends() {
        let layout = edges(&header(":START_ID(A),:END_ID(B),since:date,:TYPE"), None, ';').unwrap();
        assert_eq!((layout.start.index, layout.start.space.as_str()), (0, "A"));
        assert_eq!((layout.end.index, layout.end.space.as_str()), (1, "B"));
        assert_eq!(layout.type_column, Some(3));
        assert_eq!(types(&layout.shared), ["2:since:date"]);
    }

    #[test]
    fn a_header_tells_which_of_the_two_it_is() {
        assert!(matches!(either(&header(":ID,name"), ';'), Ok(Layout::Nodes(_))));
        assert!(matches!(
            either(&header(":START_ID,:END_ID,:TYPE"), ';'),
            Ok(Layout::Edges(_))
        ));
        assert_eq!(either(&header("id,name"), ';'), Err(LayoutError::Unclear));
    }

    #[test]
    fn headers_that_cannot_be_meant_are_refused() {
        for text in [
            ":ID,:ID",
            ":ID,:TYPE",
            "a:colour",
            ":ID(x",
            ":int",
            "a{b}",
            ":ID{label:X}",
            "name:point",
        ] {
            assert!(nodes(&header(text), vec![], ';').is_err(), "{text}");
        }
        for text in [
            ":START_ID,:END_ID",
            ":START_ID,:TYPE",
            ":START_ID,:END_ID,:TYPE,:LABEL",
            ":START_ID,:START_ID,:END_ID,:TYPE",
        ] {
            assert!(edges(&header(text), None, ';').is_err(), "{text}");
        }
    }
}
