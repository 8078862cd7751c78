//! Objects of JSON: serde takes a list of values in their order for one, too.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What a JSON object stands for; no list is one.
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Keys(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Pair {
        a: u8,
        b: Option<u8>,
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |json| serde_json::from_str::<Object<Pair>>(json).map(|Object(Pair { a, b })| (a, b));
        assert_eq!(read(r#"{"a": 1}"#).expect("a pair"), (1, None));
        assert_eq!(read(r#"{"b": 2, "a": 1}"#).expect("a pair"), (1, Some(2)));
        for (json, error) in [
            ("[1, 2]", "invalid type: sequence, expected an object at line 1 column 0"),
            ("3", "invalid type: integer `3`, expected an object at line 1 column 1"),
            (r#"{"b": 2}"#, "missing field `a` at line 1 column 8"),
        ] {
            assert_eq!(read(json).expect_err("no object").to_string(), error);
        }
    }
}
