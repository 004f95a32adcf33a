use proptest::prelude::*;

use super::*;
use crate::id::{MAX_SEQUENCE, SLOTS};

/// Few ids, so that keys share slots, nodes and types.
fn ids() -> impl Strategy<Value = EntityId> {
    prop_oneof![
        (0..4u64, 0..3u64)
            .prop_map(|(slot, sequence)| { EntityId::for_edge(sequence, Slot::new(slot as u16 * 1365).unwrap()) }),
        (0..=MAX_SEQUENCE).prop_map(EntityId::for_node),
    ]
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[ab\\x00]{1,3}", any::<String>()]
}

fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![
        ids().prop_map(Key::Node),
        ids().prop_map(Key::Locator),
        (ids(), names(), ids(), ids()).prop_map(|(source, edge_type, target, edge)| Key::Out {
            source,
            edge_type,
            target,
            edge
        }),
        (ids(), names(), ids(), ids()).prop_map(|(target, edge_type, source, edge)| Key::In {
            target,
            edge_type,
            source,
            edge
        }),
        (names(), ids()).prop_map(|(label, node)| Key::Label { label, node }),
        (0..SLOTS, any::<[u8; 16]>(), any::<u64>()).prop_map(|(slot, client, sequence)| Key::Receipt {
            slot: Slot::new(slot).unwrap(),
            client,
            sequence
        }),
    ]
}

/// The order that the bytes must keep: by slot, then kind letter, then the fields.
fn rank(key: &Key) -> (Slot, u8, Key) {
    let kind = match key {
        Key::Node(_) => b'N',
        Key::Locator(_) => b'E',
        Key::Out { .. } => b'O',
        Key::In { .. } => b'I',
        Key::Label { .. } => b'L',
        Key::Receipt { .. } => b'R',
    };
    (key.slot(), kind, key.clone())
}

fn contains(range: &Range, key: &[u8]) -> bool {
    range.from.as_slice() <= key && key < range.to.as_slice()
}

proptest! {
    #[test]
    fn keys_come_back(key in keys()) {
        let bytes = key.encode();
        prop_assert_eq!(slot_of(&bytes).unwrap(), key.slot());
        prop_assert_eq!(Key::decode(&bytes).unwrap(), key);
    }

    #[test]
    fn the_far_end_is_that_of_the_whole_key(key in keys(), cut in any::<prop::sample::Index>()) {
        let bytes = key.encode();
        let expected = match &key {
            Key::Out { target, .. } => Some((true, *target)),
            Key::In { source, .. } => Some((false, *source)),
            Key::Node(_) | Key::Locator(_) | Key::Label { .. } | Key::Receipt { .. } => None,
        };
        prop_assert_eq!(far_end(&bytes), Ok(expected));
        // What is cut short is no panic, and no half where it has no room for one.
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(cut.len() >= BEFORE_FAR_END + 16 || !matches!(far_end(cut), Ok(Some(_))));
    }

    #[test]
    fn bytes_sort_as_fields_do_and_no_key_is_a_prefix(a in keys(), b in keys()) {
        let (bytes_a, bytes_b) = (a.encode(), b.encode());
        prop_assert_eq!(bytes_a.cmp(&bytes_b), rank(&a).cmp(&rank(&b)));
        prop_assert!(a == b || !bytes_b.starts_with(&bytes_a));
    }

    #[test]
    fn a_nodes_ranges_hold_exactly_its_halves(node in ids(), name in names(), key in keys()) {
        let bytes = key.encode();
        let out = matches!(&key, Key::Out { source, .. } if *source == node);
        let out_of_type = matches!(&key, Key::Out { source, edge_type, .. } if *source == node && *edge_type == name);
        let incoming = matches!(&key, Key::In { target, .. } if *target == node);
        prop_assert_eq!(contains(&out_halves(node, None), &bytes), out);
        prop_assert_eq!(contains(&out_halves(node, Some(&name)), &bytes), out_of_type);
        prop_assert_eq!(contains(&in_halves(node, None), &bytes), incoming);
    }

    #[test]
    fn slot_ranges_hold_exactly_their_kind(name in names(), key in keys()) {
        let bytes = key.encode();
        let holds = |range: SlotRange| {
            let (from, to) = range.in_slot(key.slot());
            contains(&Range { from, to }, &bytes)
        };
        let labelled = matches!(&key, Key::Label { label, .. } if *label == name);
        prop_assert_eq!(holds(nodes_everywhere()), matches!(&key, Key::Node(_)));
        prop_assert_eq!(holds(out_halves_everywhere()), matches!(&key, Key::Out { .. }));
        prop_assert_eq!(holds(label_everywhere(&name)), labelled);
    }

    #[test]
    fn foreign_bytes_are_refused_or_are_exactly_a_key(bytes in any::<Vec<u8>>(), key in keys(), cut in any::<prop::sample::Index>()) {
        if let Ok(decoded) = Key::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
        let whole = key.encode();
        prop_assert!(Key::decode(&whole[..cut.index(whole.len())]).is_err());
    }
}

#[test]
fn the_layout_is_frozen() {
    let source = EntityId::for_edge(1, Slot::new(0x123).unwrap());
    let target = EntityId::for_edge(2, Slot::new(0xfff).unwrap());
    let edge = EntityId::for_edge(3, source.slot());
    let cases = [
        (node(source), "01234e0918000000000001"),
        (locator(edge), "0123450918000000000003"),
        (
            out_half(source, "K\0", target, edge),
            "01234f09180000000000014b00ff00017ff80000000000020918000000000003",
        ),
        (
            in_half(target, "K", source, edge),
            "0fff497ff80000000000024b000109180000000000010918000000000003",
        ),
        (label("P", source), "01234c5000010918000000000001"),
    ];
    for (key, hex) in cases {
        assert_eq!(printable(&key), hex);
    }
}

#[test]
fn a_key_in_the_wrong_slot_or_of_a_reserved_kind_is_refused() {
    let id = EntityId::for_edge(1, Slot::new(5).unwrap());
    let mut key = node(id);
    key[1] = 6;
    assert_eq!(
        Key::decode(&key),
        Err(Error::WrongSlot {
            found: Slot::new(6).unwrap(),
            expected: Slot::new(5).unwrap()
        })
    );
    assert_eq!(Key::decode(&[0x10, 0, b'N']), Err(Error::Slot(4096)));
    for reserved in [RESERVED_PROPERTY_INDEX, RESERVED_UNIQUE_INDEX] {
        assert_eq!(Key::decode(&[0, 0, reserved]), Err(Error::UnknownKind(reserved)));
    }
}
